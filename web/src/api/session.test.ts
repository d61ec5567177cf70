import { afterEach, beforeEach, expect, test, vi } from "vitest";

const answers: (number | "lost")[] = [];
const asked: string[] = [];

beforeEach(() => {
  vi.resetModules();
  vi.useFakeTimers();
  asked.length = 0;
  vi.stubGlobal("navigator", { locks: { request: (_name: string, work: () => unknown) => work() } });
  vi.stubGlobal("fetch", async (path: string) => {
    asked.push(path);
    const status = answers.shift() ?? 401;
    if (status === "lost") throw new TypeError("no network");
    return new Response(JSON.stringify({ access_token: "a token", expires_in: 600 }), { status });
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function restored(...given: (number | "lost")[]): Promise<string> {
  answers.splice(0, answers.length, ...given);
  const session = await import("./session");
  const done = session.restoreSession();
  await vi.runAllTimersAsync();
  await done;
  return session.sessionState();
}

test("a session is taken up although the platform was busy at first", async () => {
  expect(await restored(503, "lost", 200)).toBe("signedIn");
  expect(asked).toHaveLength(3);
});

test("a session that is over isn't asked for again", async () => {
  expect(await restored(401)).toBe("signedOut");
  expect(asked).toHaveLength(1);
});

test("a platform that stays away leads to the sign-in in the end", async () => {
  expect(await restored(503, 503, 503, 503, 503)).toBe("signedOut");
  expect(asked).toHaveLength(5);
});
