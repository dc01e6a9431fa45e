// Start of an exported file, a classic script: it unpacks the sheet, the modules and the recorded responses, one compressed
// safetensors block. The modules become blob URLs in an import map, which must exist before the first import.

(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("packed").textContent), (char) => char.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const file = await new Response(unpacked).arrayBuffer();
  const start = 8 + Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.slice(8, start)));
  const parts = Object.entries(header).map(([name, entry]) => {
    const [from, to] = entry.data_offsets;
    return [name, file.slice(start + from, start + to)];
  });
  const sheet = document.createElement("style");
  sheet.textContent = new TextDecoder().decode(parts.find(([name]) => name === "style.css")[1]);
  document.head.append(sheet);
  const modules = parts.filter(([name]) => name.endsWith(".js"));
  const address = (code) => URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const imports = Object.fromEntries(modules.map(([name, code]) => [`cutaway/${name}`, address(code)]));
  const map = document.createElement("script");
  map.type = "importmap";
  map.textContent = JSON.stringify({ imports });
  document.head.append(map);
  const { offlineTransport } = await import("cutaway/state/transport.js");
  globalThis.cutawayTransport = offlineTransport(new Map(parts));
  await import("cutaway/main.js");
})();
