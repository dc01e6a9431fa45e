// What Python says the answers are: written by tests/explore/test_page.py, which runs these tests.
import { readFileSync } from "node:fs";

export const vectors = JSON.parse(readFileSync(process.env.CUTAWAY_VECTORS, "utf8"));
