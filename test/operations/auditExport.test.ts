import {type ChildProcess, spawn} from 'node:child_process'
import {open} from 'node:fs/promises'
import {createInterface} from 'node:readline'
import {CloudEvent} from 'cloudevents'
import {Pool} from 'pg'
import {describe, expect, it} from 'vitest'
import {openPostgresLog} from '../../src/log/postgresLog.ts'
import {recordIn} from '../../src/proof/cloudEvent.ts'
import {leafOf} from '../../src/proof/leaf.ts'
import {community} from '../support/commandLine.ts'
import {recordsIn} from '../support/history.ts'
import {signUp, startServer} from '../support/server.ts'

const endOf = async (child: ChildProcess) => {
  let stderr = ''
  child.stderr!.on('data', (chunk) => {
    stderr += chunk
  })
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return {status, stderr}
}

describe('audit export', () => {
  it('is the whole log in its order, as CloudEvents 1.0 that give the same leaves', {timeout: 60_000}, async () => {
    const server = await startServer({EVENTSTORE_URL: ''})
    const ann = await signUp(server, {username: 'Ann'})
    await ann.post('/api/rooms', {name: 'Line\u2028and\u2029paragraph'})
    await ann.post('/api/posts', {title: 'a secret title'})
    const {status, stdout, stderr} = await community(server.env, 'audit', 'export')
    expect([status, stderr]).toEqual([0, ''])
    const lines = stdout.trimEnd().split('\n')
    const log = await openPostgresLog({url: server.databaseUrl})
    const records = await recordsIn(log)
    await log.close()
    expect(lines).toHaveLength(records.length)
    for (const [n, line] of lines.entries()) {
      const event = new CloudEvent(JSON.parse(line))
      expect(event.validate()).toBe(true)
      expect(event).toMatchObject({id: records[n]!.id, subject: records[n]!.stream, revision: records[n]!.revision})
      for (const name of Object.keys(JSON.parse(line))) expect(name).toMatch(/^[a-z0-9]+$/)
      const read = recordIn(line)
      expect('record' in read && leafOf(read.record)).toEqual(leafOf(records[n]!))
    }
    // For whoever breaks lines where Unicode does, too; and nothing of people in clear.
    expect(stdout).not.toMatch(/[\u2028\u2029]|a secret title|Ann/)
    const batch = await community(server.env, 'audit', 'export', '--json')
    expect(JSON.parse(batch.stdout)).toEqual(lines.map((line) => JSON.parse(line)))
  })

  it('needs no memory for the log, and ends without a word when nobody reads on, but not on a full disk', {
    timeout: 120_000,
  }, async () => {
    const server = await startServer({EVENTSTORE_URL: ''})
    const pool = new Pool({connectionString: server.databaseUrl})
    await pool.query(`
      INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
      SELECT n + 2, 'big', n, gen_random_uuid(), 'Big', json_build_object('text', repeat('x', 8000)), '{}'
      FROM generate_series(0, 11999) n;
      UPDATE log.head SET position = 12001`)
    await pool.end()
    await server.stop()
    const run = (stdout: 'pipe' | number = 'pipe') =>
      spawn(process.execPath, ['bin/community.js', 'audit', 'export'], {
        env: {PATH: process.env.PATH, ...server.env, NODE_OPTIONS: '--max-old-space-size=64'},
        stdio: ['ignore', stdout, 'pipe'],
      })
    const whole = run()
    let lines = 0
    let bytes = 0
    for await (const line of createInterface(whole.stdout!)) {
      lines++
      bytes += line.length
    }
    expect(lines).toBe(12_001)
    expect(bytes).toBeGreaterThan(90_000_000)
    expect(whole.exitCode ?? (await new Promise((resolve) => whole.on('close', resolve)))).toBe(0)
    const cut = run()
    await new Promise((resolve) => cut.stdout!.once('data', resolve))
    cut.stdout!.destroy()
    expect(await endOf(cut)).toEqual({status: 0, stderr: ''})
    const full = await open('/dev/full', 'w')
    expect(await endOf(run(full.fd))).toMatchObject({status: 1, stderr: expect.stringContaining('ENOSPC')})
    await full.close()
  })
})
