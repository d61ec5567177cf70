/** Bundles the package into one module that a page can load. */

import { defineConfig } from "vitest/config";

export default defineConfig({
  build: { lib: { entry: "src/index.ts", formats: ["es"], fileName: "pingvas-sdk" }, outDir: "dist/bundle" },
  test: { include: ["test/**/*.test.ts"], testTimeout: 120_000, fileParallelism: false },
});
