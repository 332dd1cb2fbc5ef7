import {mkdtemp} from 'node:fs/promises'
import {Agent, type IncomingHttpHeaders, request as send} from 'node:http'
import {connect as connectTcp} from 'node:net'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setFlagsFromString} from 'node:v8'
import {runInNewContext} from 'node:vm'
import fc from 'fast-check'
import {describe, expect, it, onTestFinished} from 'vitest'
import {ERRORS} from '../../src/edge/errors.ts'
import {ourOpenApi} from '../support/conformance.ts'
import {
  BOT_TOKEN,
  connect,
  connectBot,
  type Person,
  signUp,
  startServer,
  type TestServer,
  visit,
} from '../support/server.ts'
import {type FuzzRequest, requestsFor, socketArgs} from './requests.ts'

/** FUZZ_REQUESTS makes it longer, FUZZ_SEED other. */
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 20_000)
const SEED = Number(process.env.FUZZ_SEED ?? 20_260_101)
const AT_ONCE = 24
const BATCH = 1_000
const ANSWER_MS = 15_000

const document = ourOpenApi()

/** What nobody outside should read: traces, statements, places in this machine. */
const INTERNALS =
  /node_modules|\.ts:\d|\bat (?:async )?[\w.<>]+ \((?:file|\/|node:)|node:internal|SELECT .+ FROM|INSERT INTO|relation "|syntax error at|postgres(?:ql)?:\/\/|ECONN|ENOENT|EACCES|\b(?:Type|Reference|Range|Syntax)Error\b|ZodError|invalid input syntax/

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const memory = async () => {
  for (let round = 0; round < 3; round++) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const {heapUsed, rss, external} = process.memoryUsage()
  return {heap: heapUsed / 2 ** 20, rss: rss / 2 ** 20, external: external / 2 ** 20}
}

type Known = {[kind: string]: string[]}
type Answer = {status: number; headers: IncomingHttpHeaders; text: string}

/** What stands for something known becomes one of it; where nothing is known yet, something that is not there. */
const filled = (text: string, known: Known): string =>
  text.replace(/<(room|post|user|email|position|upload|etag):(\d+)>/g, (_, kind: string, n: string) => {
    const list = known[kind]!
    return list[Number(n) % Math.max(1, list.length)] ?? 'nothing'
  })

const remember = (known: Known, kind: string, value: unknown): void => {
  const list = known[kind]!
  if (typeof value !== 'string' || list.includes(value)) return
  if (list.length >= 40) list.splice(5 + Math.floor((list.length - 5) / 2), 1)
  list.push(value)
}

const headersOf = (request: FuzzRequest, known: Known, people: {[name: string]: Person}): {[name: string]: string} => {
  const {by} = request
  const person = people[by]
  const headers: {[name: string]: string} = {}
  if (person) headers.cookie = [...person.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  if (by === 'bot') headers.authorization = `Bearer ${BOT_TOKEN}`
  if (by === 'forger')
    headers.cookie = 'sid=s%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB'
  for (const [name, value] of Object.entries(request.headers)) headers[name] = filled(value, known)
  return headers
}

const ask = (
  server: TestServer,
  agent: Agent,
  request: FuzzRequest,
  known: Known,
  people: {[name: string]: Person},
): Promise<Answer | null> =>
  new Promise((resolve, reject) => {
    const {hostname, port} = new URL(server.url)
    const body = request.body && Buffer.from(filled(request.body.toString('latin1'), known), 'latin1')
    const headers = headersOf(request, known, people)
    if (body && request.chunked) headers['transfer-encoding'] = 'chunked'
    else if (body) headers['content-length'] = String(body.length)
    const client = send({
      agent,
      hostname,
      port,
      method: request.method,
      path: filled(request.target, known),
      headers,
      setDefaultHeaders: true,
    })
    const late = setTimeout(() => {
      client.destroy()
      reject(new Error(`no answer in ${ANSWER_MS} ms`))
    }, ANSWER_MS)
    client.on('error', (error) => {
      clearTimeout(late)
      if (request.abandoned) resolve(null)
      // The server closed a connection that was idle, or that had to be closed, in the same moment.
      else if (client.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET') {
        ask(server, new Agent(), request, known, people).then(resolve, reject)
      } else reject(error)
    })
    client.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', () => {})
      response.on('close', () => {
        clearTimeout(late)
        if (!response.complete && !request.abandoned) return reject(new Error('the answer was cut short'))
        resolve({status: response.statusCode!, headers: response.headers, text: Buffer.concat(chunks).toString()})
      })
    })
    if (body) client.write(body)
    client.end()
    if (request.abandoned) setTimeout(() => client.destroy(), 1)
  })

const told = (request: FuzzRequest): string =>
  JSON.stringify({
    ...request,
    target: request.target.slice(0, 300),
    body: request.body?.subarray(0, 300).toString('latin1') ?? null,
  })

/** Codes of 503 that have their cause here: what is not configured, and what only so many may do at once. */
const mayBeAway = (operationId: string, code: unknown): boolean =>
  code === 'LOGIN_NOT_CONFIGURED' || (code === 'BUSY' && (operationId === 'exportMe' || operationId === 'uploadFile'))

/** Of so many requests one may meet a time-out because the machine is busy with something else. */
const ONE_LATE_IN = 1_000
const isLate = (operationId: string, code: unknown): boolean =>
  operationId === 'isReady' || code === 'UNAVAILABLE' || code === 'BEHIND' || code === 'BUSY'

describe('requests of every kind', () => {
  it(
    `are answered, ${REQUESTS} of them, by no fault, no hang and nothing that tells of the inside`,
    async () => {
      const server = await startServer({
        LOG_LEVEL: 'warn',
        UPLOAD_DIR: await mkdtemp(join(tmpdir(), 'community-fuzz-')),
      })
      const agent = new Agent({keepAlive: true, maxSockets: AT_ONCE})
      onTestFinished(() => agent.destroy())
      const people: {[name: string]: Person} = {ann: await signUp(server), bob: await signUp(server)}
      const known: Known = {room: [], post: [], user: [], email: [], position: [], upload: [], etag: []}
      for (const {id, email} of Object.values(people)) {
        remember(known, 'user', id)
        remember(known, 'email', email)
      }
      const lobby = (await people.ann!.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body.room.id
      remember(known, 'room', lobby)

      const seen = new Map<string, Map<number, number>>()
      const wrong: string[] = []
      const late: string[] = []
      const note = (request: FuzzRequest, problem: string) => wrong.push(`${problem}\n    ${told(request)}`)
      const learn = ({status, headers, text}: Answer) => {
        if (status !== 200 || text === '') return
        remember(known, 'etag', headers.etag)
        remember(known, 'position', headers['x-log-position'])
        const body = /json/.test(headers['content-type'] ?? '') ? JSON.parse(text) : null
        remember(known, 'room', body?.room?.id)
        remember(known, 'post', body?.post?.id)
        if (typeof body?.url === 'string')
          remember(known, 'upload', new URL(body.url).pathname.replace('/uploads/', ''))
      }
      const judge = (request: FuzzRequest, answer: Answer) => {
        const {status, text, headers} = answer
        const ofOperation = seen.get(request.operationId) ?? new Map<number, number>()
        seen.set(request.operationId, ofOperation.set(status, (ofOperation.get(status) ?? 0) + 1))
        if (status >= 500) {
          const code = (/"code":"(\w+)"/.exec(text) ?? [])[1]
          const isPage = text.startsWith('The web client is not built')
          if (status !== 503) note(request, `${status} ${text}`)
          else if (!isPage && !mayBeAway(request.operationId, code)) {
            if (isLate(request.operationId, code)) late.push(`${text}\n    ${told(request)}`)
            else note(request, `${status} ${text}`)
          }
        }
        const all = `${JSON.stringify(headers)}\n${text}`
        const isOurText = /^\/(openapi|api-docs|metrics)/i.test(request.target)
        if (all.includes(server.dataDir) || all.includes(server.databaseUrl) || (!isOurText && INTERNALS.test(text))) {
          note(request, `it tells of the inside: ${text.slice(0, 1_000)}`)
        }
        if (status < 500) learn(answer)
      }

      const generated = requestsFor(document)
      let warm: Awaited<ReturnType<typeof memory>> | null = null
      for (let from = 0; from < REQUESTS; from += BATCH) {
        people.leaver = await signUp(server)
        people.erased = await signUp(server)
        remember(known, 'email', people.leaver.email)
        const batch = fc.sample(generated, {numRuns: Math.min(BATCH, REQUESTS - from), seed: SEED + from})
        let next = 0
        const worker = async () => {
          while (next < batch.length && wrong.length < 20) {
            const request = batch[next++]!
            try {
              const answer = await ask(server, agent, request, known, people)
              if (answer) judge(request, answer)
            } catch (error) {
              note(request, String(error))
            }
          }
        }
        await Promise.all(Array.from({length: AT_ONCE}, worker))
        if (late.length > REQUESTS / ONE_LATE_IN) wrong.push(...late)
        expect(wrong, `FUZZ_SEED=${SEED}\n${server.logged.slice(-5).join('')}`).toEqual([])
        if (process.env.FUZZ_VERBOSE) process.stderr.write(`${from + batch.length} ${JSON.stringify(await memory())}\n`)
        if (from + BATCH >= REQUESTS / 2) warm ??= await memory()
      }
      const after = await memory()
      expect(server.logged.filter((line) => /a request failed|fatal/.test(line))).toEqual([])

      // It went deep: everything that can work here did.
      const table = [...seen].map(
        ([id, statuses]) =>
          `${id}: ${[...statuses]
            .sort(([a], [b]) => a - b)
            .map(([status, n]) => `${status}×${n}`)
            .join(' ')}`,
      )
      if (process.env.FUZZ_VERBOSE) process.stderr.write(`${table.join('\n')}\n`)
      const unreached = [
        'logInWithDiscord',
        'logInWithReddit',
        'returnFromDiscord',
        'returnFromReddit',
        'resetPassword',
      ]
      for (const {operationId} of Object.values(document.paths).flatMap((methods) => Object.values(methods))) {
        const statuses = [...(seen.get(operationId)?.keys() ?? [])]
        if (!unreached.includes(operationId)) {
          expect(
            statuses.some((status) => status < 400),
            `${operationId} never worked\n${table.join('\n')}`,
          ).toBe(true)
        }
      }
      expect((await people.ann!.get('/api/me')).status).toBe(200)
      expect(after.heap - warm!.heap, JSON.stringify({warm, after})).toBeLessThan(24)
      expect(after.rss - warm!.rss, JSON.stringify({warm, after})).toBeLessThan(160)
    },
    // Four times what it takes by itself, for a machine that does other things too.
    60_000 + REQUESTS * 15,
  )
})

describe('bytes that are no HTTP', () => {
  const raw = (server: TestServer, bytes: string | Buffer): Promise<string> =>
    new Promise((resolve, reject) => {
      const {hostname, port} = new URL(server.url)
      const socket = connectTcp(Number(port), hostname)
      const chunks: Buffer[] = []
      const late = setTimeout(() => {
        socket.destroy()
        reject(new Error(`neither answered nor closed: ${JSON.stringify(String(bytes).slice(0, 200))}`))
      }, ANSWER_MS)
      socket.on('error', () => {})
      socket.on('data', (chunk) => chunks.push(chunk))
      socket.on('close', () => {
        clearTimeout(late)
        resolve(Buffer.concat(chunks).toString('latin1'))
      })
      // Half-closed: there is no more to wait for.
      socket.end(bytes)
    })

  it('are refused or cut, and hurt nobody', async () => {
    const server = await startServer({LOG_LEVEL: 'warn'})
    const head = 'POST /api/posts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
    const fixed = [
      '',
      '\r\n\r\n',
      'GET\r\n\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      'GET /api/posts HTTP/1.1\r\n\r\n',
      'GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n',
      'GET /api/posts HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      'GET http://evil.example/api/me HTTP/1.1\r\nHost: x\r\n\r\n',
      'GET * HTTP/1.1\r\nHost: x\r\n\r\n',
      'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
      'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
      'GET /api/posts?\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n',
      `GET /api/posts HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`,
      `GET /${'a'.repeat(40_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET / HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(3_000)}\r\n`,
      `${head}Content-Length: -1\r\n\r\n{}`,
      `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
      `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${head}Content-Length: 100\r\n\r\n{`,
      `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
      `${head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n`,
      `${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      `${head}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}`,
      `${head}Expect: something\r\nContent-Length: 2\r\n\r\n{}`,
      'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
      'GET /socket.io/?EIO=9&transport=x HTTP/1.1\r\nHost: x\r\n\r\n',
      'GET /api/posts HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
      'POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n4x',
      '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    ]
    const noise = fc.sample(
      fc.tuple(fc.constantFrom('', 'GET ', 'GET / HTTP/1.1\r\n', head), fc.uint8Array({maxLength: 200})),
      {numRuns: 150, seed: SEED},
    )
    const all = [
      ...fixed.map((bytes) => Buffer.from(bytes, 'latin1')),
      ...noise.map(([start, bytes]) => Buffer.concat([Buffer.from(start), bytes])),
    ]
    for (const answer of await Promise.all(all.map((bytes) => raw(server, bytes)))) {
      expect(answer).not.toMatch(/^HTTP\/1\.1 5/)
      expect(answer).not.toMatch(INTERNALS)
    }
    expect((await visit(server.url).get('/healthz')).status).toBe(200)
  })
})

describe('socket events of every kind', () => {
  it('are answered by what is documented, and the connection stays', async () => {
    const server = await startServer({LOG_LEVEL: 'warn'})
    const ann = await signUp(server)
    const roomId = (await ann.post('/api/rooms', {name: 'Lobby'})).body.room.id
    const known: Known = {
      room: [roomId, roomId, 'r-nothing'],
      post: [],
      user: [ann.id],
      email: [],
      position: [],
      upload: [],
      etag: [],
    }
    const resolved = (value: unknown): unknown => {
      if (Buffer.isBuffer(value)) return value
      return value === undefined ? null : JSON.parse(filled(JSON.stringify(value), known))
    }
    const codes = new Set<string>()
    for (const socket of [await connect(ann), await connectBot(server)]) {
      const events = fc.sample(socketArgs(document), {numRuns: Math.ceil(REQUESTS / 20), seed: SEED})
      const reserved = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']
      for (let from = 0; from < events.length; from += 20) {
        const asked = events
          .slice(from, from + 20)
          .filter(({name}) => !reserved.includes(name))
          .map(({name, args}) =>
            socket.ask(name, ...args.map(resolved)).catch((error: Error) => {
              throw new Error(`${error.message}: ${JSON.stringify({name, args}).slice(0, 1_000)}`)
            }),
          )
        for (const answer of await Promise.all(asked)) {
          expect(Object.keys(ERRORS)).toContain(answer.code ?? 'INVALID')
          expect(answer.code, JSON.stringify(answer)).not.toBe('INTERNAL')
          expect(JSON.stringify(answer)).not.toMatch(INTERNALS)
          codes.add(answer.ok ? 'ok' : answer.code)
        }
      }
      expect(socket.connected).toBe(true)
    }
    expect([...codes]).toEqual(expect.arrayContaining(['ok', 'INVALID', 'NOT_FOUND', 'SINCE_UNKNOWN']))
    expect(server.logged.filter((line) => /failed|fatal/.test(line))).toEqual([])
  })

  it('that break the protocol cost their sender the connection, and nobody else', async () => {
    const server = await startServer({LOG_LEVEL: 'warn'})
    const ann = await signUp(server)
    const roomId = (await ann.post('/api/rooms', {name: 'Lobby'})).body.room.id
    const calm = await connect(ann)
    await calm.ask('join_room', roomId)
    const noise = fc.sample(fc.string({unit: 'binary', maxLength: 60}), {numRuns: 40, seed: SEED})
    const packets = [
      '4',
      '40',
      '42',
      '42["',
      '42[]',
      '42{}',
      '42[1]',
      '42[null]',
      '451-["x"]',
      '43',
      '4z',
      '9',
      '2',
      `42["x","${'y'.repeat(200_000)}"]`,
    ]
    await Promise.all(
      [...packets, ...noise].map(async (packet) => {
        const socket = await connect(ann, {transports: ['websocket']})
        socket.io.engine.transport.send([{type: 'message', data: packet}] as never)
        socket.io.engine.transport.send([{type: packet.slice(0, 1), data: packet}] as never)
        socket.disconnect()
      }),
    )
    expect(await calm.ask('send_message', {roomId, content: 'still here'})).toMatchObject({ok: true})
    expect(server.logged.filter((line) => /failed|fatal/.test(line))).toEqual([])
  })

  it('need somebody who is known: a handshake of any kind is refused', async () => {
    const server = await startServer({LOG_LEVEL: 'warn'})
    const auths = fc.sample(
      fc.record(
        {botToken: fc.oneof(fc.jsonValue(), fc.constant(BOT_TOKEN)), botId: fc.jsonValue(), botName: fc.jsonValue()},
        {requiredKeys: []},
      ),
      {numRuns: 60, seed: SEED},
    )
    const outcomes = await Promise.all(
      auths.map((auth) =>
        connect({url: server.url}, {auth}).then(
          () => 'in',
          (error) => error.message,
        ),
      ),
    )
    for (const outcome of outcomes) expect(['in', 'NOT_SIGNED_IN', 'INVALID']).toContain(outcome)
    expect(server.logged.filter((line) => /failed|fatal|could not connect/.test(line))).toEqual([])
  })
})
