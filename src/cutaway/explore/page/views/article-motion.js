// Those figures of the article that move there, as they move here.

import { html } from "../vendor/lit-html.js";
import { cellsFromDocument } from "../lib/cells.js";
import { ACTIVATIONS } from "../lib/mathematics.js";
import { t } from "../state/i18n.js";
import { goMore, ownNumber, state } from "../state/navigation.js";
import { askTrace, chosen, labels, model } from "../state/session.js";
import { FRAMES, matrixMotion } from "../ui/matrix-motion.js";
import { PHASES, loopMotion } from "../ui/loop-motion.js";
import { player } from "../ui/player.js";
import { waiting } from "../ui/widgets.js";

const BEFORE = 3; // tokens of the text that are shown

/** The moving picture of a figure, from its document; undefined for figures that stand still. */
export const motion = (id, found) => MOVES[id]?.(id, found);

const MOVES = { F08: written, F09: written, F16: paths, F17: paths, F55: widening, F56: narrowing };

/** The setting that holds the frame of a figure: of the open one, or of one that has been scrolled to. */
const nameOf = (id) => (state.value.more.figure === id ? "frame" : `frame${id}`);

const frame = (id, count) => ownNumber(nameOf(id), count, 0);

const controls = (id, count, at) => player({ name: id, count, at, title: `${at + 1}`, show: (next) => goMore({ [nameOf(id)]: next || null }) });

/** Frames of columns that are computed one after another; `outputs` are the tokens that come out. */
function columns(id, tokens, first, outputs, begin = 0) {
  const count = outputs.length * PHASES.length - begin;
  const at = frame(id, count);
  const step = Math.floor((at + begin) / PHASES.length);
  const shown = [...tokens, ...outputs.map(({ text }) => text)].map((token, i) => (i <= first + step ? token : null)).slice(0, first + outputs.length + 1);
  return html`<figure class="motion">${loopMotion({ tokens: shown, current: first + step, phase: PHASES[(at + begin) % PHASES.length], output: outputs[step], title: t("motion.loop") })}
    ${controls(id, count, at)}</figure>`;
}

/** The text goes on: the tokens that a table of the figure, or that of F08, names. */
function written(id, found) {
  const table = found.panels.find((panel) => panel.kind === "table");
  if (!table) return drawnLoop(id, found);
  const outputs = table.rows.map(([, , text, probability]) => ({ text, probability: probability.value, tensor: probability.tensor, index: probability.index }));
  return columns(id, tail(), tail().length - 1, outputs);
}

const tail = () => labels.value.slice(-BEFORE);

const boxesOf = (found) => found.panels.find((panel) => panel.kind === "drawing").shapes.filter((shape) => shape.kind === "box");

/** The tokens of the boxes at the right of a drawing, from top to bottom. */
function drawnLoop(id, found) {
  const boxes = boxesOf(found);
  const right = Math.max(...boxes.map(({ x }) => x));
  return columns(id, tail(), tail().length - 1, boxes.filter(({ x }) => x === right).sort((a, b) => a.y - b.y).map(({ text }) => ({ text })));
}

/** The paths of one or two tokens: the boxes at the bottom are the inputs, the one on top is what comes out. */
function paths(id, found) {
  const boxes = boxesOf(found);
  const lowest = Math.max(...boxes.map(({ y }) => y));
  const inputs = boxes.filter(({ y }) => y === lowest).sort((a, b) => a.x - b.x).map(({ text }) => text).filter((text) => typeof text === "string");
  const output = boxes.reduce((highest, box) => (box.y < highest.y ? box : highest)).text;
  return columns(id, inputs.slice(0, 1), 0, [...inputs.slice(1), output].map((text) => ({ text })), id === "F17" ? PHASES.indexOf("out") : 0);
}

/** The vector of a figure's grid, which may be folded there, as one row. */
function row(found, kind) {
  const { cells } = found.panels.find((panel) => panel.kind === "grid" && panel.cells.tensor === `${kind}.${chosen.value.layer}`);
  const folded = cellsFromDocument(cells);
  const columns = folded.values.length;
  return { ...folded, rows: 1, columns, steps: [columns, 1] };
}

function sweep(id, found, vector, name, matrix, kinds) {
  const act = ACTIVATIONS[model.value.config.activation_function].name;
  const results = kinds.map(([kind, words]) => [t(words, { act }), row(found, kind)]);
  const at = frame(id, FRAMES);
  return html`<figure class="motion">${matrixMotion({ vector, name: t(name), matrix: `h.${chosen.value.layer}.mlp.${matrix}.weight`, results, at })}${controls(id, FRAMES, at)}</figure>`;
}

/** F55: the normalised vector meets the first matrix, and each number goes through the activation. */
function widening(id, found) {
  return sweep(id, found, row(found, "ln2"), "motion.normalised", "c_fc", [["mlp_pre", "motion.before"], ["mlp_act", "motion.after"]]);
}

/** F56: the units meet the second matrix; the result is added to the token's vector. */
function narrowing(id, found) {
  const before = askTrace(`figures/F55?${new URLSearchParams(chosen.value)}`);
  return before ? sweep(id, found, row(before, "mlp_act"), "motion.units", "c_proj", [["mlp_out", "motion.out"], ["resid.mid", "motion.mid"], ["resid.post", "motion.post"]]) : waiting();
}
