import {defineConfig} from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/globalSetup.ts'],
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // A shared machine may take seconds away from a test that waits for something real. Nowhere else is a test tried again.
    retry: process.env.CI ? 2 : 0,
  },
})
