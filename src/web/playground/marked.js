// The gateway serves the package's own file at this address; this one is for whatever resolves imports as Node does.
export * from "marked";
