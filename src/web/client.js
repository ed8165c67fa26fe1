// From source, a page loads the client in its parts, whose types the gateway strips. The build puts it all in this one file.
export * from "../client/index.ts";
