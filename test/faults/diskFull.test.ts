import {execFileSync} from 'node:child_process'
import {mkdtempSync, rmdirSync} from 'node:fs'
import {open, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {expect, it, onTestFinished} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {check} from './checker.ts'
import {aWhile, isLong, startLoad, times} from './load.ts'
import {sharedEnv, startNode} from './nodes.ts'
import {startOwnPostgres} from './ownPostgres.ts'

const mount = (folder: string) =>
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=192m,mode=711', 'tmpfs', folder], {stdio: 'ignore'})
const newFolder = () => mkdtempSync(join(tmpdir(), 'community-disk-'))

/** Only root may mount a file system, and not everywhere. */
const mayMount = (() => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  const folder = newFolder()
  try {
    mount(folder)
    execFileSync('umount', [folder])
    return true
  } catch {
    return false
  } finally {
    rmdirSync(folder)
  }
})()

/** Takes all that is left. Gives what gives it back. */
const fill = async (folder: string): Promise<() => Promise<void>> => {
  const path = join(folder, 'balloon')
  const file = await open(path, 'w')
  for (const size of [1024 * 1024, 4096]) {
    const bytes = Buffer.alloc(size)
    try {
      for (;;) {
        const {bytesWritten} = await file.write(bytes)
        if (bytesWritten < size) break
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    }
  }
  await file.close()
  return () => rm(path)
}

it.skipIf(!mayMount)(
  `PostgreSQL's disk is full under load: writes are 503 meanwhile, and go on when there is space${mayMount ? '' : ': a small file system can not be mounted here'}`,
  {timeout: isLong ? 600_000 : 60_000},
  async (context) => {
    const rounds = times(1, 5)
    const folder = newFolder()
    mount(folder)
    const database = await startOwnPostgres(join(folder, 'data'))
    onTestFinished(async () => {
      await database.stop()
      execFileSync('umount', [folder])
      await rm(folder, {recursive: true, force: true})
    })
    const node = await startNode(await sharedEnv({DATABASE_URL: database.url}))
    const {pid} = node.server
    const load = await startLoad(node.server)
    for (let round = 0; round < rounds; round++) {
      await aWhile(50, 1_000)
      const free = await fill(folder)
      const refused = await eventually(
        async () => {
          const reply = await load.reader.post('/api/posts', {title: 'no space', body: 'x'.repeat(40_000)})
          return reply.status === 200 ? null : reply
        },
        {what: 'the disk to be full', ms: 30_000},
      )
      expect([refused.status, refused.body.code]).toEqual([503, 'UNAVAILABLE'])
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
      await aWhile(500, 2_000)
      await free()
      // Where it could not even write that it stops, it is gone: whoever runs it starts it again.
      await database.start()
      const began = performance.now()
      await load.goesOn(1)
      expect(performance.now() - began).toBeLessThan(5_000)
    }
    expect(node.server.pid).toBe(pid)
    const fault = {fault: "PostgreSQL's disk full", times: rounds}
    await check(context, fault, {server: node.server, ...(await load.stop())})
    await node.server.end('SIGTERM')
  },
)
