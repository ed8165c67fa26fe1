/**
 * Loaded before the gateway: every reader then encodes its own batches, as if nothing were shared. What sharing saves is the
 * difference. The one function that shares is replaced as its file is read; the gateway's source stays as it is.
 */
import { registerHooks } from "node:module";

const FILE = "/src/transport/encoding.ts";
const SHARED = "export function shared<";

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith(FILE)) return loaded;
    const source = String(loaded.source);
    if (!source.includes(SHARED)) throw new Error(`${FILE} has no ${SHARED}: what shares has moved`);
    const own = "export const shared = <E>(encode: E): E => encode;\n";
    return { ...loaded, source: own + source.replace(SHARED, "function kept<") };
  },
});
