import { afterEach, describe, expect, test, vi } from "vitest";
import { runEmulator } from "../../src/emulator/index.ts";

describe("the command", () => {
  afterEach(() => {
    process.exitCode = undefined;
    vi.restoreAllMocks();
  });

  test.each([["--nope"], ["--port", "many"], ["--port", "70000"], ["extra"]])(
    "refuses %s %s",
    async (...args) => {
      const stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      await runEmulator(args.filter((arg) => typeof arg === "string"));
      expect(process.exitCode).toBe(2);
      expect(stderr).toHaveBeenCalledOnce();
      expect(String(stderr.mock.calls[0]?.[0])).toMatch(/^sluice emulator: .*\n$/);
    },
  );

  test("help goes to standard output, and nothing listens", async () => {
    const stdout = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    await runEmulator(["--help"]);
    expect(String(stdout.mock.calls[0]?.[0])).toContain("--first-token-ms N");
    expect(process.exitCode).toBeUndefined();
  });

  test("serves until it is told to stop", async () => {
    const log = vi.spyOn(console, "log").mockReturnValue();
    const running = runEmulator(["--port", "0", "--model", "mine"]);
    await vi.waitFor(() => expect(log).toHaveBeenCalledOnce());
    const url = /http\S+/.exec(String(log.mock.calls[0]?.[0]))?.[0];
    expect(await (await fetch(`${url}/models`)).text()).toContain(`"id":"mine"`);
    process.emit("SIGTERM");
    await running;
    await expect(fetch(`${url}/models`)).rejects.toThrow();
  });
});
