import {spawn} from 'node:child_process'
import {randomBytes} from 'node:crypto'
import {once} from 'node:events'
import {chown, mkdtemp, readFile, rm} from 'node:fs/promises'
import {type AddressInfo, connect as connectTcp, createServer} from 'node:net'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {afterAll, describe, expect, it} from 'vitest'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {range, roomOf} from '../support/rooms.ts'
import {connect, type Person, signUp, type TestSocket, visit} from '../support/server.ts'
import {endAll, postgresPid, type ServerProcess, spawnProcess, spawnServer} from '../support/serverProcess.ts'
import {startTcpProxy} from '../support/tcpProxy.ts'

const SECRETS = {SESSION_SECRET: 's'.repeat(32), MASTER_KEY: randomBytes(32).toString('base64')}
const NOBODY = {uid: 65534, gid: 65534}
const isRoot = process.getuid?.() === 0

const folders: string[] = []
const newFolder = async (owner?: {uid: number; gid: number}): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'community-process-'))
  if (owner) await chown(folder, owner.uid, owner.gid)
  folders.push(folder)
  return folder
}
afterAll(async () => {
  await endAll(folders)
  for (const folder of folders) await rm(folder, {recursive: true, force: true})
})

let shared: Promise<string> | null = null
/** One folder for tests that run one after the other and leave it as good as they found it. */
const sharedFolder = (): Promise<string> => {
  shared ??= newFolder()
  return shared
}

type Acknowledged = {messages: {id: string; seq: number; content: string}[]; posts: {id: string; title: string}[]}

const on = (server: {url: string}, who: Person): Person => {
  const visitor = visit(server.url, who.cookies)
  return {...visitor, id: who.id, username: who.username, email: who.email}
}

/** Writes over sockets and HTTP as fast as it is answered, until nothing is answered any more or `stop` is called. */
const writeOn = (sockets: TestSocket[], people: Person[], roomId: string) => {
  const acknowledged: Acknowledged = {messages: [], posts: []}
  let stopped = false
  const sending = sockets.map(async (socket, index) => {
    for (let count = 0; !stopped && socket.connected; count++) {
      const sent = await socket.emitWithAck('send_message', {roomId, content: `${index} ${count}`}).catch(() => null)
      if (!sent?.ok) return
      acknowledged.messages.push(sent.message)
    }
  })
  const posting = people.map(async (person, index) => {
    for (let count = 0; !stopped; count++) {
      const posted = await person.post('/api/posts', {title: `${roomId} ${index} ${count}`}).catch(() => null)
      if (posted?.status !== 200) return
      acknowledged.posts.push(posted.body.post)
    }
  })
  return {
    acknowledged,
    stop: async () => {
      stopped = true
      await Promise.all([...sending, ...posting])
      return acknowledged
    },
  }
}

/** All that was acknowledged is there, once and under its own seq; no seq is missing. */
const expectKept = async (reader: Person, roomId: string, {messages, posts}: Acknowledged): Promise<void> => {
  const stored: {id: string; seq: number; content: string}[] = []
  for (;;) {
    const page = await reader.get(`/api/rooms/${roomId}/messages?since=${stored.length - 1}&limit=200`)
    stored.push(...page.body.messages)
    if (page.body.messages.length < 200) break
  }
  expect(stored.map(({seq}) => seq)).toEqual(range(0, stored.length))
  expect(new Set(stored.map(({content}) => content)).size).toBe(stored.length)
  for (const message of messages) expect(stored[message.seq]).toEqual(message)
  const titles = (await reader.get('/api/posts')).body.map(({title}: {title: string}) => title)
  expect(new Set(titles).size).toBe(titles.length)
  for (const {title} of posts) expect(titles).toContain(title)
}

const party = async (server: ServerProcess) => {
  const people = [await signUp(server), await signUp(server)]
  const roomId = await roomOf(people[0]!, people[1]!)
  const sockets = []
  for (const person of [...people, ...people]) sockets.push(await connect(person, {transports: ['websocket']}))
  return {people, roomId, ...writeOn(sockets, people, roomId), sockets}
}

const enough = ({messages, posts}: Acknowledged) => messages.length > 100 && posts.length > 10

describe('serve', () => {
  describe.each([
    ['as root', undefined],
    ['as an ordinary user', NOBODY],
  ])('%s', (_, as) => {
    it.skipIf(as !== undefined && !isRoot)(
      'keeps all that it acknowledged over a kill -9 in a burst and over a stop',
      async () => {
        const folder = await newFolder(as)
        let server = await spawnServer(folder, {as})
        const {people, roomId, acknowledged, stop} = await party(server)
        await eventually(() => enough(acknowledged))
        const database = await postgresPid(folder)
        expect(await server.end('SIGKILL')).toMatchObject({signal: 'SIGKILL'})
        await stop()

        server = await spawnServer(folder, {as})
        expect(await postgresPid(folder)).toBe(database)
        let ann = on(server, people[0]!)
        expect((await ann.get('/api/me')).body.user.id).toBe(people[0]!.id)
        await expectKept(ann, roomId, acknowledged)

        expect(await server.end('SIGTERM')).toMatchObject({status: 0})
        expect(await postgresPid(folder)).toBeNull()
        server = await spawnServer(folder, {as})
        ann = on(server, people[0]!)
        await expectKept(ann, roomId, acknowledged)
        expect((await ann.post(`/api/rooms/${roomId}/messages`, {content: 'and on'})).status).toBe(200)
        expect(await server.end('SIGTERM')).toMatchObject({status: 0})
      },
      90_000,
    )
  })

  it.each([
    ['SIGTERM', false],
    ['Ctrl-C', true],
  ])(
    'drains on %s: what is under way is answered, what was acknowledged is kept',
    async (_, isGroup) => {
      const folder = await sharedFolder()
      let server = await spawnServer(folder)
      const {people, roomId, acknowledged, sockets} = await party(server)
      await eventually(() => enough(acknowledged))
      const reasons: string[] = []
      for (const socket of sockets) socket.on('disconnect', (reason) => reasons.push(reason))

      // "100 Continue" says that the request is under way; its body comes after the signal.
      const {hostname, port} = new URL(server.url)
      const pending = connectTcp(Number(port), hostname)
      let answer = ''
      pending.on('data', (chunk) => {
        answer += chunk
      })
      const body = JSON.stringify({title: `${roomId} the last one`})
      const cookie = [...people[0]!.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      pending.write(
        `POST /api/posts HTTP/1.1\r\nHost: ${hostname}:${port}\r\nCookie: ${cookie}\r\nContent-Type: application/json\r\n` +
          `Content-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`,
      )
      await eventually(() => answer.includes('100 Continue'))
      const ending = server.end(isGroup ? 'SIGINT' : 'SIGTERM', {group: isGroup})
      await eventually(() => sockets.every(({connected}) => !connected))
      pending.write(body)
      await eventually(() => answer.includes('the last one'))
      expect(answer).toContain('HTTP/1.1 200')

      const {status, ms} = await ending
      expect(status).toBe(0)
      expect(ms).toBeLessThan(10_000)
      expect(reasons).not.toContain('io server disconnect')
      expect(server.stderr()).toBe('')
      expect(await postgresPid(folder)).toBeNull()

      server = await spawnServer(folder)
      const posts = [...acknowledged.posts, {id: '', title: `${roomId} the last one`}]
      await expectKept(on(server, people[0]!), roomId, {...acknowledged, posts})
      await server.end('SIGTERM')
    },
    60_000,
  )

  it('does not wait long for clients that neither finish nor read', async () => {
    const server = await spawnServer(await sharedFolder())
    const ann = await signUp(server)
    const {hostname, port} = new URL(server.url)
    const proxy = await startTcpProxy(Number(port))
    const paused = await connect({...ann, url: `http://127.0.0.1:${proxy.port}`}, {transports: ['websocket']})
    proxy.stall()
    const unfinished = connectTcp(Number(port), hostname)
    let answer = ''
    unfinished.on('data', (chunk) => {
      answer += chunk
    })
    unfinished.on('error', () => {})
    unfinished.write(
      'POST /api/email/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n',
    )
    await eventually(() => answer.includes('100 Continue'))
    const {status, ms} = await server.end('SIGTERM')
    expect(status).toBe(0)
    expect(ms).toBeLessThan(10_000)
    paused.disconnect()
    await proxy.close()
  }, 60_000)

  it('ends in order when it is told to while it starts', async () => {
    const folder = await sharedFolder()
    const starting = spawnProcess(folder)
    await eventually(() => starting.stdout().includes('PostgreSQL is ready'))
    starting.child.kill('SIGTERM')
    expect(await starting.ended).toMatchObject({status: 0})
    expect(await postgresPid(folder)).toBeNull()
  }, 60_000)

  it('ends with npm, which waits for it: SIGTERM to npm start', async () => {
    const folder = await sharedFolder()
    const npm = spawn('npm', ['start'], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      env: {PATH: process.env.PATH, HOME: folder, DATA_DIR: folder, PORT: '0'},
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    })
    const ended = once(npm, 'exit')
    try {
      let stdout = ''
      npm.stdout.on('data', (chunk) => {
        stdout += chunk
      })
      await eventually(() => stdout.includes('the server is ready'), {ms: 30_000})
      npm.kill('SIGTERM')
      expect(await ended).toEqual([0, null])
      expect(await postgresPid(folder)).toBeNull()
    } finally {
      if (npm.exitCode === null) process.kill(-npm.pid!, 'SIGKILL')
    }
  }, 60_000)

  it('refuses to be the second server on a data directory, in one sentence, and harms the first in nothing', async () => {
    const folder = await sharedFolder()
    const server = await spawnServer(folder)
    const second = spawnProcess(folder)
    expect(await second.ended).toMatchObject({status: 1})
    expect(second.stderr()).toBe(
      `Another server (process ${server.pid}) is running on this database: stop it, or set another DATA_DIR.\n`,
    )
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
    expect(await server.end('SIGTERM')).toMatchObject({status: 0})
  }, 60_000)

  it.each([
    ['PORT', {PORT: 'eighty'}],
    ['BASE_URL', {BASE_URL: 'community.example.org'}],
    ['DATABASE_URL', {DATABASE_URL: 'mysql://root@localhost/x'}],
    ['SESSION_SECRET', {NODE_ENV: 'production'}],
    ['MASTER_KEY', {MASTER_KEY: 'short'}],
  ])('does not start with a wrong %s, and says so in one line', async (name, env) => {
    const refused = spawnProcess(await newFolder(), {env})
    expect(await refused.ended).toMatchObject({status: 1})
    expect(refused.stderr()).toMatch(new RegExp(`^${name} must be [^\\n]+\\n$`))
    expect(refused.stdout()).toBe('')
  })

  it('says in one line that its port is taken, and leaves no database running', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const folder = await sharedFolder()
    const refused = spawnProcess(folder, {env: {PORT: `${(taken.address() as AddressInfo).port}`}})
    expect(await refused.ended).toMatchObject({status: 1})
    expect(refused.stderr()).toMatch(/^PORT must be [^\n]*EADDRINUSE[^\n]*\n$/)
    expect(await postgresPid(folder)).toBeNull()
    taken.close()
  })

  it.each([
    ['HOST', {HOST: '198.51.100.1'}],
    ['UPLOAD_DIR', {UPLOAD_DIR: '/etc/passwd/x'}],
    ['UPLOAD_DIR', {UPLOAD_DIR: '/proc/none'}],
    ['DATABASE_URL', {DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', ...SECRETS}],
    ['DATA_DIR', {DATA_DIR: '/proc/none'}],
    ['DATA_DIR', {DATA_DIR: '/proc/none', ...SECRETS}],
  ])('does not start where %s is nothing that can be used, and says so in one line: %j', async (name, env) => {
    const refused = spawnProcess(await sharedFolder(), {env})
    expect(await refused.ended).toMatchObject({status: 1})
    expect(refused.stderr()).toMatch(/^[^\n]+\n$/)
    expect(refused.stderr()).toContain(name)
  })

  it('goes on after its database was killed, and keeps all that it acknowledged', async () => {
    const folder = await sharedFolder()
    const server = await spawnServer(folder)
    const {people, roomId, acknowledged, stop} = await party(server)
    await eventually(() => enough(acknowledged))
    const database = (await postgresPid(folder))!
    process.kill(database, 'SIGKILL')
    const ann = people[0]!
    await eventually(async () => ![null, database].includes(await postgresPid(folder)))
    await eventually(async () => (await ann.post('/api/posts', {title: `${roomId} is back`})).status === 200)
    await eventually(async () => (await ann.get('/readyz')).status === 200)
    await stop()
    await expectKept(ann, roomId, acknowledged)
    expect(await server.end('SIGTERM')).toMatchObject({status: 0})
  }, 60_000)

  it('shares one database with another server: one is killed, the other goes on with all', async () => {
    const env = {
      DATABASE_URL: await createDatabase(),
      SESSION_SECRET: randomBytes(32).toString('hex'),
      MASTER_KEY: randomBytes(32).toString('base64'),
    }
    const folder = await newFolder()
    const [one, two] = await Promise.all([spawnServer(folder, {env}), spawnServer(folder, {env})])
    const ann = await signUp(one)
    const roomId = await roomOf(ann)
    const there = on(two, ann)
    const sockets = [await connect(ann), await connect(there), await connect(there)]
    await sockets[2]!.ask('join_room', roomId)
    const writing = writeOn(sockets.slice(0, 2), [ann, there], roomId)
    await eventually(() => enough(writing.acknowledged))
    await one.end('SIGKILL')
    const before = writing.acknowledged.messages.length
    await eventually(() => writing.acknowledged.messages.length > before + 20)
    await writing.stop()
    await expectKept(there, roomId, writing.acknowledged)
    const stored = (await there.get(`/api/rooms/${roomId}`)).body.room.lastSeq
    await eventually(() => sockets[2]!.messages().length > stored)
    expect(sockets[2]!.messages().map(({seq}) => seq)).toEqual(range(0, stored + 1))
    expect(await two.end('SIGTERM')).toMatchObject({status: 0})
  }, 60_000)

  it.skipIf(process.platform !== 'linux')(
    'keeps to 160 MB when it has nothing to do',
    async () => {
      const server = await spawnServer(await sharedFolder())
      expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
      const resident = async () => {
        const status = await readFile(`/proc/${server.pid}/status`, 'utf8')
        return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) / 1_024
      }
      await eventually(async () => (await resident()) < 160, {what: 'less than 160 MB'})
      await server.end('SIGTERM')
    },
    60_000,
  )
})
