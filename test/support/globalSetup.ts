import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import type {TestProject} from 'vitest/node'
import {startEmbeddedPostgres} from '../../src/database/embeddedPostgres.ts'

declare module 'vitest' {
  interface ProvidedContext {
    postgresUrl: string
  }
}

/** One real PostgreSQL for the whole run; each test file makes databases of its own in it. */
export const setup = async (project: TestProject): Promise<() => Promise<void>> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'community-test-'))
  const quiet = {info: () => {}, warn: () => {}, error: () => {}}
  const database = await startEmbeddedPostgres({
    dataDir,
    logger: quiet,
    onExit: (reason) => process.stderr.write(`${reason}\n`),
  })
  project.provide('postgresUrl', database.url)
  return async () => {
    await database.stop()
    await rm(dataDir, {recursive: true, force: true})
  }
}
