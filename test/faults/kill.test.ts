import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {hasNginx, startNginx} from '../support/nginx.ts'
import {postgresPid, spawnProcess} from '../support/serverProcess.ts'
import {check} from './checker.ts'
import {watchLeader} from './leader.ts'
import {aWhile, isLong, startLoad, times} from './load.ts'
import {type Node, newFolder, sharedEnv, startNode, startNodes} from './nodes.ts'
import {type OwnPostgres, startOwnPostgres} from './ownPostgres.ts'

const timeout = isLong ? 1_200_000 : 60_000
/** Of a leader, and of a service whose database is back. */
const BACK_MS = 5_000

describe('kill -9', () => {
  it('of the server at random moments under load, also while it starts', {timeout}, async (context) => {
    const kills = times(2, 100)
    const dataDir = await newFolder()
    const node = await startNode({}, dataDir)
    const load = await startLoad(node.server)
    for (let kill = 0; kill < kills; kill++) {
      await aWhile(50, 1_000)
      await node.server.end('SIGKILL')
      if (kill % 5 === 1) {
        const starting = spawnProcess(dataDir, {env: node.server.env})
        await aWhile(50, 1_000)
        starting.child.kill('SIGKILL')
        await starting.ended
      }
      await node.restart()
      await load.goesOn(1)
    }
    await check(context, {fault: 'kill -9 of the server', times: kills}, {server: node.server, ...(await load.stop())})
  })

  describe('of a node', () => {
    let nodes: [Node, Node, Node]
    beforeAll(async () => {
      nodes = (await startNodes(3)) as typeof nodes
    })

    it.skipIf(!hasNginx)(
      `of three behind nginx under load${hasNginx ? '' : ': nginx is not installed'}`,
      {timeout},
      async (context) => {
        const kills = times(1, 20)
        const nginx = await startNginx(nodes.map(({server}) => server))
        const front = {...nodes[0].server, url: nginx.url}
        const load = await startLoad(front, {chatters: 9, addresses: true})
        for (let kill = 0; kill < kills; kill++) {
          await aWhile(50, 1_000)
          // One after the other, so also the one that feeds the read tables.
          const node = nodes[(kill + 1) % 3]!
          await node.server.end('SIGKILL')
          await load.goesOn(3)
          await node.restart()
        }
        const [{server}] = nodes
        await check(context, {fault: 'kill -9 of one of three nodes', times: kills}, {server, ...(await load.stop())})
        await nginx.stop()
      },
    )

    it(`that leads the read tables: another one does within ${BACK_MS} ms`, {timeout}, async (context) => {
      const kills = times(1, 20)
      const [first, second, third] = nodes
      const leader = await watchLeader(first.server.databaseUrl)
      // Of two, it is known which one leads after the other was killed.
      const others = await leader.holders()
      await Promise.all([first.server.end('SIGKILL'), third.server.end('SIGKILL')])
      // It may have led before.
      await leader.taken(others, 3_000).catch(() => {})
      await first.restart()
      const load = await startLoad(first.server, {urls: [first.server.url, second.server.url]})
      const takenMs = []
      for (let kill = 0; kill < kills; kill++) {
        await aWhile(50, 1_000)
        const node = kill % 2 === 0 ? second : first
        const before = await leader.holders()
        await node.server.end('SIGKILL')
        takenMs.push(await leader.taken(before))
        await load.goesOn(3)
        await node.restart()
      }
      await leader.close()
      process.stdout.write(`another node led after ${Math.round(Math.max(...takenMs))} ms at most\n`)
      expect(Math.max(...takenMs)).toBeLessThan(BACK_MS)
      const fault = {fault: 'kill -9 of the projection leader', times: kills}
      await check(context, fault, {server: first.server, ...(await load.stop())})
    })
  })

  describe('of PostgreSQL', () => {
    let database: OwnPostgres
    beforeAll(async () => {
      database = await startOwnPostgres(await newFolder())
    })
    afterAll(() => database.stop())

    it('that is by itself: writes are 503 meanwhile, and the service is back soon after it', {
      timeout,
    }, async (context) => {
      const kills = times(1, 20)
      const node = await startNode(await sharedEnv({DATABASE_URL: database.url}))
      const {pid} = node.server
      const load = await startLoad(node.server)
      const backMs = []
      for (let kill = 0; kill < kills; kill++) {
        await aWhile(50, 1_000)
        await database.kill()
        const away = await load.reader.post('/api/posts', {title: 'while the database is away'})
        expect([away.status, away.body.code]).toEqual([503, 'UNAVAILABLE'])
        expect(Number(away.headers.get('retry-after'))).toBeGreaterThan(0)
        await aWhile(500, 2_000)
        await database.start()
        const began = performance.now()
        await load.goesOn(1)
        await eventually(async () => (await load.reader.get('/readyz')).status === 200)
        backMs.push(performance.now() - began)
      }
      process.stdout.write(
        `everybody was answered again ${Math.round(Math.max(...backMs))} ms after PostgreSQL, at most\n`,
      )
      expect(Math.max(...backMs)).toBeLessThan(BACK_MS)
      expect(node.server.pid).toBe(pid)
      const fault = {fault: 'kill -9 of PostgreSQL', times: kills}
      await check(context, fault, {server: node.server, ...(await load.stop())})
      await node.server.end('SIGTERM')
    })

    it('that the server brought along: it is started again by the server', {timeout}, async (context) => {
      // A sixth one within a minute ends the server.
      const kills = times(1, 5)
      const dataDir = await newFolder()
      const node = await startNode({}, dataDir)
      const load = await startLoad(node.server)
      for (let kill = 0; kill < kills; kill++) {
        await aWhile(50, 1_000)
        const pid = (await postgresPid(dataDir))!
        process.kill(pid, 'SIGKILL')
        await eventually(async () => ![null, pid].includes(await postgresPid(dataDir)))
        await load.goesOn(1)
      }
      const fault = {fault: 'kill -9 of the embedded PostgreSQL', times: kills}
      await check(context, fault, {server: node.server, ...(await load.stop())})
      await node.server.end('SIGTERM')
    })
  })
})
