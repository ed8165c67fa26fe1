/** With `node --import`: `sluice/client` is the source of this checkout, built or not. */
import { registerHooks } from "node:module";

const CLIENT = new URL("../../src/client/index.ts", import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) => next(specifier === "sluice/client" ? CLIENT : specifier, context),
});
