// All views in the order of the menu: {id, group, draw}, and perhaps {isPlaced}, of those that show one layer and head, and
// {isOffered}, of those that the menu has for some models only.
// The id is the prefix of the view's words.

import { article } from "./article.js";
import { attention } from "./attention.js";
import { compare } from "./compare.js";
import { heads } from "./heads.js";
import { input } from "./input.js";
import { loop } from "./loop.js";
import { mlp } from "./mlp.js";
import { music } from "./music.js";
import { output } from "./output.js";
import { overview } from "./overview.js";
import { parameters } from "./parameters.js";
import { play } from "./play.js";
import { stack } from "./stack.js";
import { tokensView } from "./tokens.js";
import { translation } from "./translation.js";
import { whatif } from "./whatif.js";

export const VIEWS = [overview, play, loop, tokensView, input, attention, heads, mlp, stack, output, whatif, compare, music, translation, parameters, article];
