// The safetensors format: eight bytes with the header's length, the header as JSON, the numbers.

const HALF = (bits) => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
};

const READERS = {
  F32: (buffer) => new Float32Array(buffer),
  F16: (buffer) => Float32Array.from(new Uint16Array(buffer), HALF),
  U8: (buffer) => new Uint8Array(buffer),
  I64: (buffer) => Float64Array.from(new BigInt64Array(buffer), Number),
  I32: (buffer) => new Int32Array(buffer),
};

/** Serialise one float32 tensor, flat and in C order, with metadata: Uint8Array. */
export function writeTensor(name, { shape, values }, words) {
  const entry = { dtype: "F32", shape, data_offsets: [0, values.byteLength] };
  const text = JSON.stringify({ __metadata__: words, [name]: entry });
  const header = new TextEncoder().encode(text + " ".repeat(-new TextEncoder().encode(text).length & 7));
  const file = new Uint8Array(8 + header.length + values.byteLength);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), 8 + header.length);
  return file;
}

/**
 * {name: {shape, data, origin}} of a file; `data` is flat, in C order. `origin` is the JSON under the same name in the
 * metadata: which part of which tensor it is, {tensor, shape, offset, steps}. Throws if the file is invalid.
 */
export function readTensors(file) {
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = {};
  for (const [name, entry] of Object.entries(entries)) {
    const [begin, end] = entry.data_offsets.map((offset) => 8 + length + offset);
    const origin = name in metadata ? JSON.parse(metadata[name]) : undefined;
    tensors[name] = { shape: entry.shape, data: READERS[entry.dtype](file.slice(begin, end)), origin };
  }
  return tensors;
}
