import {defineConfig} from 'vitest/config'
import {printTable} from './table.ts'

/** The faults in their long form: `npm run test:faults`, or a part of it, as in `npm run test:faults -- -t 'kill -9'`. */
// biome-ignore lint/style/noDefaultExport: vitest wants its configuration so
export default defineConfig({
  test: {
    include: ['test/faults/*.test.ts', 'test/model/interface.test.ts'],
    globalSetup: ['test/support/globalSetup.ts'],
    reporters: ['default', printTable],
    maxWorkers: 2,
    hookTimeout: 60_000,
    env: {FAULTS: 'long'},
  },
})
