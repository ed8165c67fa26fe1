import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Two workers: the tests start real processes and sockets, and a starved event loop makes honest deadlines fire late.
    maxWorkers: 2,
    reporters: ["default"],
  },
});
