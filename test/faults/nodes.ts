import {randomBytes} from 'node:crypto'
import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {afterAll} from 'vitest'
import {createDatabase} from '../support/database.ts'
import {freePort} from '../support/freePort.ts'
import {endAll, type ServerProcess, spawnServer} from '../support/serverProcess.ts'

const folders: string[] = []
afterAll(async () => {
  await endAll(folders)
  for (const folder of folders) await rm(folder, {recursive: true, force: true})
})

export const newFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'community-faults-'))
  folders.push(folder)
  return folder
}

/** What processes on one database and one log have in common. Over EventStoreDB where EVENTSTORE_URL names one. */
export const sharedEnv = async (env: NodeJS.ProcessEnv = {}): Promise<NodeJS.ProcessEnv> => {
  const {EVENTSTORE_URL} = process.env
  return {
    DATABASE_URL: env.DATABASE_URL ?? (await createDatabase()),
    MASTER_KEY: randomBytes(32).toString('base64'),
    SESSION_SECRET: randomBytes(32).toString('base64'),
    TRUST_PROXY: '1',
    LOG_LEVEL: 'info',
    ...(EVENTSTORE_URL ? {EVENTSTORE_URL, EVENTSTORE_PREFIX: `t${randomBytes(6).toString('hex')}.`} : {}),
    ...env,
  }
}

/** A server that keeps its address when it is started again. */
export type Node = {
  readonly server: ServerProcess
  /** Kills what runs, also where it is only starting, and starts it again. */
  restart(): Promise<void>
}

export const startNode = async (env: NodeJS.ProcessEnv, dataDir?: string): Promise<Node> => {
  const folder = dataDir ?? (await newFolder())
  const options = {env: {...env, PORT: String(await freePort())}}
  let server = await spawnServer(folder, options)
  return {
    get server() {
      return server
    },
    restart: async () => {
      server = await spawnServer(folder, options)
    },
  }
}

/** Real processes on one database and one log. The first is there before the others, so it feeds the read tables. */
export const startNodes = async (count: number, env: NodeJS.ProcessEnv = {}): Promise<Node[]> => {
  const shared = await sharedEnv(env)
  const dataDir = await newFolder()
  const nodes = [await startNode(shared, dataDir)]
  while (nodes.length < count) nodes.push(await startNode(shared, dataDir))
  return nodes
}
