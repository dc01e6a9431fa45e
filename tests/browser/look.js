// What the tests ask a page, run in it before its own scripts. `look` tells what is seen; it changes nothing but a cursor.

(() => {
  const realFetch = globalThis.fetch;
  let asked = 0;
  let calm = 0;
  let isBroken = false;

  addEventListener("error", ({ error }) => { isBroken ||= Boolean(error); });
  addEventListener("unhandledrejection", () => { isBroken = true; });

  // Answers that are on their way, until all of each has come and has been drawn.
  globalThis.fetch = async (...request) => {
    asked += 1;
    const done = () => setTimeout(() => { asked -= 1; });
    try {
      const answer = await realFetch(...request);
      answer.clone().arrayBuffer().then(done, done);
      return answer;
    } catch (error) {
      done();
      throw error;
    }
  };

  const isSeen = (element) => element.checkVisibility({ visibilityProperty: true });
  const waits = (loading) => [...document.querySelectorAll("main p")].some((each) => loading.includes(each.textContent.trim()));

  /** Whether everything that was asked for is there, and was for three frames, or nothing more will come; to be polled. */
  function isCalm(loading) {
    if (isBroken) return true;
    const isQuiet = asked === 0 && document.querySelector("main :is(h2, canvas, svg, p:not(.lead))") && !waits(loading)
      && !document.querySelector("[aria-busy=true]");
    calm = isQuiet ? calm + 1 : 0;
    if (calm < 3) return false;
    calm = 0;
    return true;
  }

  /** What is on the page, as a reader has it: its text, and what its controls are set to. */
  function everything() {
    const controls = [...document.querySelectorAll("input, textarea, select")].map((each) => (each.type === "checkbox" || each.type === "radio" ? each.checked : each.value));
    return { text: document.body.innerText, controls, title: document.title, language: document.documentElement.lang };
  }

  /** What is said, seen or not, but for tokens, numbers and names of tensors. */
  function prose() {
    const said = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) if (!texts.currentNode.parentElement.closest(".token, .tokens, .number, .translated, code, script, style, noscript, select, textarea, dt")) said.push(texts.currentNode.textContent.trim());
    for (const each of document.querySelectorAll("[title], [aria-label]")) if (!each.closest(".tokens")) said.push(each.title, each.ariaLabel ?? "");
    return said.filter(Boolean);
  }

  /** Every printed number that says where it is from, and whether it is the exact one of a readout. */
  const numbers = () => [...document.querySelectorAll(".number[data-tensor][data-index]")]
    .map((each) => ({ text: each.textContent.trim(), tensor: each.dataset.tensor, index: each.dataset.index, isExact: Boolean(each.closest(".readout")) }));

  /** The colours of some of a canvas's pixels, one after another: red, green, blue. */
  function colours(canvas, x, y, width, height) {
    const ink = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    ink.drawImage(canvas, x, y, width, height, 0, 0, width, height);
    return [...ink.getImageData(0, 0, width, height).data].filter((_, i) => i % 4 < 3);
  }

  /** The small pictures of heads that have been drawn: {tensor, index, size, colours}. */
  const pictures = () => [...document.querySelectorAll("head-picture[data-tensor]")].map((each) => {
    const canvas = each.querySelector("canvas");
    const { width, height } = canvas;
    return { tensor: each.dataset.tensor, index: each.dataset.index, size: width, colours: colours(canvas, 0, 0, width, height) };
  });

  /** Every grid of numbers: what it says of itself, and of some of its cells what the readout and the picture show. */
  const grids = (most) => [...document.querySelectorAll("cell-grid")].filter(isSeen).map((each) => grid(each, most));

  function grid(element, most) {
    const canvas = element.querySelector("canvas");
    const data = canvas.dataset;
    const rows = Number(data.rows);
  const columns = Number(data.columns);
    const said = { ...data, rows, columns, scale: under(element).querySelector(".legend").classList[1] };
    const places = spread(rows * columns, most).map((i) => [Math.floor(i / columns), i % columns]);
    const walked = places.map(([row, column]) => walk(element, canvas, row, column));
    return { ...said, cells: [...walked, ...pointed(element, canvas, said, places)] };
  }

  /** So many of the numbers below n, evenly, with the first and the last. */
  function spread(n, most) {
    if (n <= most) return Array.from({ length: n }, (_, i) => i);
    return Array.from({ length: most }, (_, i) => Math.round((i * (n - 1)) / (most - 1)));
  }

  /** What holds the legend and the readout of a grid: that of its group, if it is one of several strips. */
  const under = (element) => element.closest(".strips")?.querySelector(":scope > .under") ?? element;

  const readout = (element) => {
    const number = under(element).querySelector(".readout .number");
    return { text: number.textContent.trim(), tensor: number.dataset.tensor, index: number.dataset.index };
  };

  /** With the keys alone to a cell not far from that one, from wherever the cursor is. */
  function walk(element, canvas, row, column) {
    const press = (key, times = 1) => { for (; times > 0; times--) canvas.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true })); };
    const pages = Math.floor(row / 10);
  const down = Math.min(row % 10, 2);
    const last = Number(canvas.dataset.columns) - 1;
    const isRight = column > last / 2;
    const across = Math.min(isRight ? last - column : column, 2);
    press("PageUp", Math.ceil(canvas.dataset.rows / 10));
    press("PageDown", pages);
    press("ArrowDown", down);
    press(isRight ? "End" : "Home");
    press(isRight ? "ArrowLeft" : "ArrowRight", across);
    return { ...readout(element), row: 10 * pages + down, column: isRight ? last - across : across };
  }

  const LABELS = [0, 40, 72, 104].flatMap((left) => [[left, 0], [left, 18]]); // what the names of rows and columns may take, in pixels

  /** The cells again, with the pointer: where it is, the readout names the cell, and the picture has its colour. */
  function pointed(element, canvas, { rows, columns }, places) {
    const wide = parseFloat(canvas.style.width);
  const high = parseFloat(canvas.style.height);
    for (const [left, top] of LABELS) {
      const across = (wide - left) / columns;
      const down = (high - top) / rows;
      const isNumbered = across >= 34 && down >= 14;
      if (across < 1.5 || down < 1.5) continue; // a cell that is hardly a pixel cannot be pointed at
      // In a cell's middle, or beside the number that is written there.
      const spots = places.map(([row, column]) => [left + (column + (isNumbered ? 0 : 0.5)) * across, top + (row + (isNumbered ? 0 : 0.5)) * down]
        .map((at) => Math.floor(at + (isNumbered ? 4 : 0)) + 0.5));
      const found = spots.map((spot, i) => ({ ...point(element, canvas, spot), row: places[i][0], column: places[i][1] }));
      if (found.some(({ row, column, index }) => index !== flat(canvas, row, column))) continue;
      return found.map((cell, i) => ({ ...cell, colour: colourAt(element, canvas, spots[i], spots[i === 0 ? spots.length - 1 : 0]) }));
    }
    return [];
  }

  function point(element, canvas, [x, y]) {
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + x, clientY: box.top + y }));
    return readout(element);
  }

  /** The colour of a spot while the pointer, and the frame that goes with it, is at another. */
  function colourAt(element, canvas, spot, elsewhere) {
    point(element, canvas, elsewhere);
    const [x, y] = spot.map((at) => Math.floor(at * devicePixelRatio));
    return colours(canvas, x, y, 1, 1);
  }

  function flat({ dataset: { offset, steps, shape } }, row, column) {
    const [down, across] = steps.split(",").map(Number);
    let place = Number(offset) + row * down + column * across;
    const index = [];
    for (const length of shape.split(",").map(Number).reverse()) {
      index.unshift(place % length);
      place = Math.floor(place / length);
    }
    return index.join(",");
  }

  const FOCUSABLE = "a[href], button:enabled, input:enabled, textarea:enabled, select:enabled, summary, [tabindex]";

  /** What the Tab key must reach: of a set of radio buttons the one that is chosen. */
  const focusable = () => [...document.querySelectorAll(FOCUSABLE)]
    .filter((each) => each.tabIndex >= 0 && isSeen(each) && !(each.type === "radio" && !each.checked)).map(name);

  /** An element in words; two that read the same are told apart by their place in the page. */
  function name(element) {
    const all = [...document.querySelectorAll(element.tagName)];
    const words = element.getAttribute("aria-label") ?? element.textContent ?? "";
    return `${element.tagName.toLowerCase()} ${all.indexOf(element)} ${words.trim().replace(/\s+/g, " ").slice(0, 40)}`;
  }

  const visited = []; // what has had the focus: its name, and whether one saw that it had it
  document.addEventListener("focusin", ({ target }) => visited.push({ name: name(target), isMarked: getComputedStyle(target).outlineStyle !== "none" }));

  globalThis.look = { isCalm, colours, everything, prose, numbers, pictures, grids, focusable, visited };
})();
