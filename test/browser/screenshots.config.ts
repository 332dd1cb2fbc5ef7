import {defineConfig} from 'vitest/config'

// biome-ignore lint/style/noDefaultExport: vitest wants its configuration so
export default defineConfig({
  test: {
    include: ['test/browser/screenshots.ts'],
    globalSetup: ['test/support/globalSetup.ts'],
    testTimeout: 600_000,
  },
})
