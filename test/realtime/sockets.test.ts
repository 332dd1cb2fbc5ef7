import {randomUUID} from 'node:crypto'
import {request} from 'node:http'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {eventsOf, roomOf} from '../support/rooms.ts'
import {
  BOT_TOKEN,
  connect,
  connectBot,
  signUp,
  startServer,
  type TestServer,
  type TestSocket,
} from '../support/server.ts'
import {startTwoNodes} from '../support/twoNodes.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer({}, {shared: true})
})
afterAll(() => server.stop())

const refusal = async (connecting: Promise<TestSocket>) => {
  const error = (await connecting.then(
    () => null,
    (error: unknown) => error,
  )) as (Error & {data: object}) | null
  return error?.data
}

const errorOf = (code: string) => ({ok: false, code, error: expect.any(String), requestId: expect.any(String)})

describe('openSockets', () => {
  describe('lets in', () => {
    it.each([['polling'], ['websocket']])(
      'a person by the session cookie, and a bot by its token, over %s',
      async (transport) => {
        const ann = await signUp(server)
        const transports = [transport]
        expect((await connect(ann, {transports})).connected).toBe(true)
        expect((await connect(server, {transports, auth: {botToken: BOT_TOKEN}})).connected).toBe(true)
      },
    )

    it('nobody without either, and says so in the one shape of errors', async () => {
      expect(await refusal(connect(server))).toEqual(errorOf('NOT_SIGNED_IN'))
    })

    it.each([
      ['a wrong token', {botToken: 'wrong'}, 'NOT_SIGNED_IN'],
      ['no text as token', {botToken: {}}, 'NOT_SIGNED_IN'],
      ['no token', {botToken: ''}, 'NOT_SIGNED_IN'],
      ['a wrong bot id', {botToken: BOT_TOKEN, botId: 'Not An Id'}, 'INVALID'],
      ['a wrong bot name', {botToken: BOT_TOKEN, botName: ''}, 'INVALID'],
      ['a blank bot name', {botToken: BOT_TOKEN, botName: ' '}, 'INVALID'],
    ])('no bot with %s', async (_, auth, code) => {
      expect(await refusal(connect(server, {auth}))).toMatchObject(errorOf(code))
    })

    it('takes null in its auth for nothing given', async () => {
      const ann = await signUp(server)
      expect((await connect(ann, {auth: {botToken: null}})).connected).toBe(true)
      expect((await connect(server, {auth: {botToken: BOT_TOKEN, botId: null, botName: null}})).connected).toBe(true)
    })

    it('nobody whose session is made up', async () => {
      const cookies = new Map([['sid', `s%3A${randomUUID()}.signature`]])
      expect(await refusal(connect({url: server.url, cookies}))).toEqual(errorOf('NOT_SIGNED_IN'))
    })

    it('a bot under the id and name that it gives, or the default', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const send = async (auth: object) => {
        const bot = await connectBot(server, auth)
        const {userId, username, isBot} = (await bot.ask('send_message', {roomId, content: 'hi'})).message
        return {userId, username, isBot}
      }
      expect(await send({})).toEqual({userId: 'bot_bot', username: 'bot', isBot: true})
      expect(await send({botId: 'echo'})).toEqual({userId: 'bot_echo', username: 'echo', isBot: true})
      expect(await send({botId: 'echo', botName: 'Echo!'})).toEqual({
        userId: 'bot_echo',
        username: 'Echo!',
        isBot: true,
      })
    })

    it('no page of another site, over either transport', async () => {
      const handshake = (query: string, headers: Record<string, string>) =>
        new Promise<{status: number; text: string}>((resolve, reject) => {
          const req = request(`${server.url}/socket.io/?EIO=4&${query}`, {headers})
          req.on('error', reject)
          req.on('upgrade', (res, socket) => {
            socket.destroy()
            resolve({status: res.statusCode!, text: ''})
          })
          req.on('response', async (res) => {
            let text = ''
            for await (const chunk of res) text += chunk
            resolve({status: res.statusCode!, text})
          })
          req.end()
        })
      const upgrade = {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      }
      for (const origin of ['https://elsewhere.example', 'null']) {
        for (const [query, headers] of [
          ['transport=polling', {origin}],
          ['transport=websocket', {...upgrade, origin}],
        ] as const) {
          const {status, text} = await handshake(query, headers)
          expect(status).toBe(403)
          expect(JSON.parse(text)).toEqual(errorOf('CROSS_SITE'))
        }
      }
      expect((await handshake('transport=polling', {origin: server.url})).status).toBe(200)
      expect((await handshake('transport=websocket', {...upgrade, origin: server.url})).status).toBe(101)
    })
  })

  it('lets a person have 50 sockets and not one more, and counts those that went', async () => {
    const ann = await signUp(server)
    const answers = await Promise.allSettled(Array.from({length: 55}, () => connect(ann, {transports: ['websocket']})))
    const sockets = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
    const refused = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason.data] : []))
    expect(sockets).toHaveLength(50)
    expect(refused).toEqual(Array(5).fill(errorOf('RATE_LIMITED')))
    sockets[0]!.disconnect()
    const again = await eventually(() => connect(ann, {transports: ['websocket']}).catch(() => null))
    expect(again.connected).toBe(true)
    const bob = await signUp(server)
    expect((await connect(bob)).connected).toBe(true)
  })

  it('counts the sockets of a person at every node', async () => {
    const [near, far] = await startTwoNodes()
    const ann = await signUp(near)
    const there = {...ann, url: far.url}
    const sockets = await Promise.all(
      Array.from({length: 30}, (_, n) => connect(n < 20 ? ann : there, {transports: ['websocket']})),
    )
    // As soon as either node has heard of the other's.
    const refused = async (who: typeof ann) => {
      const socket = await connect(who, {transports: ['websocket']}).catch(() => null)
      if (socket) sockets.push(socket)
      return socket === null
    }
    await eventually(() => refused(ann))
    expect(sockets.length).toBeGreaterThanOrEqual(50)
    expect(sockets.length).toBeLessThan(55)
    await eventually(() => refused(there))
    for (const socket of sockets.splice(0, 20)) socket.disconnect()
    await eventually(async () => !(await refused(there)))
  })

  describe('answers what it does not understand', () => {
    it('with an error in the callback, whatever was sent, and goes on', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const socket = await connect(ann)
      const nothing = [undefined, null, 0, true, '', 'x'.repeat(101), [], [roomId], {}, {roomId}]
      for (const value of nothing) {
        expect(await socket.ask('send_message', value)).toMatchObject(errorOf('INVALID'))
        const joined = await socket.ask('join_room', value)
        expect(joined.ok).toBe(false)
        expect(['INVALID', 'NOT_FOUND']).toContain(joined.code)
      }
      for (const options of ['text', 7, [], {since: '3'}, {since: 1.5}, {since: -2}, {since: 2 ** 60}, {since: null}]) {
        expect(await socket.ask('join_room', roomId, options)).toMatchObject(errorOf('INVALID'))
      }
      for (const content of [undefined, null, 5, '', '  ', '\0', 'half \ud800', 'x'.repeat(4_001), ['a'], {}]) {
        expect(await socket.ask('send_message', {roomId, content})).toMatchObject(errorOf('INVALID'))
      }
      for (const nonce of ['', 5, 'x'.repeat(65), null, {}]) {
        expect(await socket.ask('send_message', {roomId, content: 'hi', nonce})).toMatchObject(errorOf('INVALID'))
      }
      expect(await socket.ask('send_message', {roomId, content: Buffer.from('binary')})).toMatchObject(
        errorOf('INVALID'),
      )
      for (const name of ['nonsense', 'message', 'toString', '__proto__', 'error']) {
        expect(await socket.ask(name, {any: 'thing'})).toMatchObject(errorOf('NOT_FOUND'))
      }
      expect(await socket.ask('join_room', roomId)).toMatchObject({ok: true})
      expect(await socket.ask('send_message', {roomId, content: 'x'.repeat(4_000)})).toMatchObject({ok: true})
    })

    it('names the field', async () => {
      const socket = await connect(await signUp(server))
      const wrong = (event: string, ...args: unknown[]) => socket.ask(event, ...args)
      for (const [answer, path, message] of [
        [await wrong('join_room'), 'roomId', 'is required'],
        [await wrong('join_room', 7), 'roomId', 'must be text'],
        [await wrong('join_room', 'x'.repeat(101)), 'roomId', 'must have at most 100 characters'],
        [await wrong('join_room', 'r', {since: 'x'}), 'since', 'must be a number'],
        [await wrong('join_room', 'r', {since: 1.5}), 'since', 'must be a whole number'],
        [await wrong('join_room', 'r', {since: -2}), 'since', 'must be at least -1'],
        [await wrong('join_room', 'r', 'x'), 'options', 'must be an object'],
        [await wrong('send_message'), 'message', 'is required'],
        [await wrong('send_message', {content: 'x'}), 'roomId', 'is required'],
        [await wrong('read', {roomId: 'r'}), 'seq', 'is required'],
      ])
        expect(answer).toMatchObject({
          issues: [{path, message}],
          error: expect.stringContaining(`"${path}" ${message}.`),
        })
      expect(await socket.ask('send_message', {roomId: 'r', content: ' '})).toMatchObject({
        issues: [{path: 'content', message: 'must not be blank'}],
      })
    })

    it('with nothing where there is no callback', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const socket = await connect(ann)
      for (const name of ['send_message', 'join_room', 'nonsense', 'error']) {
        socket.emit(name)
        socket.emit(name, null)
        socket.emit(name, roomId, 'no callback')
        socket.emit(
          name,
          () => {},
          () => {},
        )
      }
      expect(await socket.ask('join_room', roomId)).toMatchObject({ok: true})
      socket.emit('send_message', {roomId, content: 'without a callback'})
      await eventually(() => socket.messages().length === 1)
    })

    it('by closing the connection where it is larger than anything that could be right', async () => {
      const socket = await connect(await signUp(server), {transports: ['websocket']})
      socket.emit('send_message', {roomId: 'x', content: 'x'.repeat(200_000)})
      await eventually(() => !socket.connected)
      expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
    })

    it('by closing the connection where it is not the protocol', async () => {
      const socket = await connect(await signUp(server), {transports: ['websocket']})
      const {engine} = socket.io
      engine.write('9garbage{')
      await eventually(() => !socket.connected)
      const other = await connect(await signUp(server), {transports: ['websocket']})
      other.io.engine.write('2["message')
      await eventually(() => !other.connected)
      expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
    })
  })

  it('limits the events of one socket, and of that one alone', async () => {
    const ann = await signUp(server)
    const [flooding, calm] = [await connect(ann), await connect(ann)]
    const answers = await Promise.all(Array.from({length: 3_000}, () => flooding.ask('nonsense')))
    const codes = answers.map(({code}) => code)
    expect(codes.slice(0, 2_000)).toEqual(Array(2_000).fill('NOT_FOUND'))
    expect(codes.filter((code) => code === 'RATE_LIMITED').length).toBeGreaterThan(100)
    expect((await calm.ask('nonsense')).code).toBe('NOT_FOUND')
    await eventually(async () => (await flooding.ask('nonsense')).code === 'NOT_FOUND')
  })

  describe('stop', () => {
    it('answers what is under way, closes every connection so that clients come back, and lets nobody in', async () => {
      const stopping = await startServer()
      const ann = await signUp(stopping)
      const roomId = await roomOf(ann)
      const sockets = await Promise.all([
        connect(ann),
        connect(ann, {transports: ['polling']}),
        connect(ann, {transports: ['websocket']}),
      ])
      for (const socket of sockets) await socket.ask('join_room', roomId)
      const reasons: string[] = []
      for (const socket of sockets) socket.on('disconnect', (reason) => reasons.push(reason))
      const asked = sockets.flatMap((socket) =>
        Array.from({length: 20}, (_, index) => socket.ask('send_message', {roomId, content: `${index}`})),
      )
      // The last of each socket's has arrived when one that was sent after it is answered.
      await Promise.all(sockets.map((socket) => socket.ask('nonsense')))
      await stopping.stop()
      for (const answer of await Promise.all(asked)) expect(answer).toMatchObject({ok: true})
      await eventually(() => reasons.length === sockets.length)
      // After "io server disconnect" a client does not connect again by itself.
      expect(reasons).not.toContain('io server disconnect')
      await expect(connect(ann)).rejects.toThrow()
    })
  })

  it('logs neither token nor cookie nor message', async () => {
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    const socket = await connect(ann)
    await socket.ask('send_message', {roomId, content: 'a very private message'})
    await refusal(connect(server, {auth: {botToken: 'a wrong secret token'}}))
    const log = server.logged.join('')
    for (const secret of [BOT_TOKEN, 'a wrong secret token', 'a very private message', ann.cookies.get('sid')!]) {
      expect(log).not.toContain(secret)
    }
    expect(eventsOf(socket, 'message')).toEqual([])
  })
})
