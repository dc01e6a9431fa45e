// All views, in the order of the menu. Each has an id, under which its words are, and draws itself.

import { article } from "../views/article.js";
import { attention } from "../views/attention.js";
import { compare } from "../views/compare.js";
import { heads } from "../views/heads.js";
import { input } from "../views/input.js";
import { loop } from "../views/loop.js";
import { mlp } from "../views/mlp.js";
import { output } from "../views/output.js";
import { parameters } from "../views/parameters.js";
import { play } from "../views/play.js";
import { stack } from "../views/stack.js";
import { tokensView } from "../views/tokens.js";
import { whatif } from "../views/whatif.js";

export const VIEWS = [play, loop, tokensView, input, stack, attention, heads, mlp, output, parameters, compare, whatif, article];
