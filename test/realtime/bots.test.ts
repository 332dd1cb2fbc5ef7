import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {eventsOf, expectSeqs, numbered, range, roomOf, sendAll, seqsOf} from '../support/rooms.ts'
import {BOT_TOKEN, connect, connectBot, signUp, startServer, type TestServer, visit} from '../support/server.ts'

let server: TestServer
let other: TestServer
beforeAll(async () => {
  server = await startServer({}, {shared: true})
  other = await startServer(server.env, {shared: true})
})
afterAll(async () => {
  await Promise.all([server.stop(), other.stop()])
})

const rest = (botId: string) => {
  const {request} = visit(other.url)
  const headers = {authorization: `Bearer ${BOT_TOKEN}`, 'x-bot-id': botId}
  return (method: string, path: string, body?: object, more = {}) => request(method, path, body, {...headers, ...more})
}

describe('bots', () => {
  it('are several, with several connections each, on any node; each connection gets each message once', async () => {
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    const auths = ['one', 'two'].map((botId) => ({botId, botName: `Bot ${botId}`}))
    const bots = []
    for (const auth of auths) for (const node of [server, other]) bots.push(await connectBot(node, auth))
    for (const bot of bots) expect(await bot.ask('join_room', roomId, {since: -1})).toMatchObject({ok: true})
    const {members} = (await ann.get(`/api/rooms/${roomId}`)).body
    expect(members.map(({userId}: {userId: string}) => userId)).toEqual([ann.id, 'bot_one', 'bot_two'])
    const answers = await Promise.all(bots.map((bot, index) => sendAll(bot, roomId, numbered(10, `from ${index}`))))
    for (const [index, mine] of answers.entries())
      for (const {message} of mine) expect(message.userId).toBe(`bot_${index < 2 ? 'one' : 'two'}`)
    for (const bot of bots) await expectSeqs(bot, 0, 40)
    // A nonce is its bot's, whichever connection sends it.
    const nonce = {roomId, content: 'once', nonce: 'n'}
    const again = await Promise.all(bots.map((bot) => bot.ask('send_message', nonce)))
    expect(again.map(({message}) => message.seq).sort()).toEqual([40, 40, 41, 41])
  })

  it('are told of each new room on every connection, list every room, and read from any seq without having been in it', async () => {
    const ann = await signUp(server)
    const bots = [await connectBot(server, {botId: 'one'}), await connectBot(other, {botId: 'one'})]
    const {room} = (await ann.post('/api/rooms', {name: 'By invitation'})).body
    for (const bot of bots)
      await eventually(() => eventsOf(bot, 'room').some((event) => (event as {roomId: string}).roomId === room.id))
    const {position} = (await sendAll(await connect(ann), room.id, numbered(30))).at(-1)!
    const more = {'x-min-position': position}
    const {body} = await rest('reader')('GET', '/api/rooms?limit=500', undefined, more)
    expect(body.rooms.map(({id}: {id: string}) => id)).toContain(room.id)
    for (const since of [-1, 0, 12, 29]) {
      const page = await rest('reader')('GET', `/api/rooms/${room.id}/messages?since=${since}`, undefined, more)
      expect(page.body.messages.map(({seq}: {seq: number}) => seq)).toEqual(range(since + 1, 30))
      const late = await connectBot(other, {botId: `late-${since + 1}`})
      expect(await late.ask('join_room', room.id, {since})).toMatchObject({ok: true, seq: 29})
      expect(seqsOf(late)).toEqual(range(since + 1, 30))
    }
    const sent = await rest('writer')('POST', `/api/rooms/${room.id}/messages`, {content: 'by REST'})
    expect(sent.body.message).toMatchObject({userId: 'bot_writer', isBot: true, seq: 30})
  })

  it('may have more connections and send more events than a person may', async () => {
    const all = await Promise.all(
      range(0, 60).map(() => connect(server, {auth: {botToken: BOT_TOKEN}, transports: ['websocket']})),
    )
    expect(all.every(({connected}) => connected)).toBe(true)
    const answers = await Promise.all(range(0, 2_500).map(() => all[0]!.ask('nonsense')))
    expect(new Set(answers.map(({code}) => code))).toEqual(new Set(['NOT_FOUND']))
  })

  it('are those who bring the whole token, and nobody else', async () => {
    const wrong = [BOT_TOKEN.slice(0, -1), `${BOT_TOKEN}x`, BOT_TOKEN.toUpperCase(), '\u0000', 'x'.repeat(10_000)]
    for (const botToken of wrong) await expect(connect(server, {auth: {botToken}})).rejects.toThrow('NOT_SIGNED_IN')
    const {status} = await visit(server.url).get('/api/rooms', {authorization: `Bearer ${wrong[1]}`})
    expect(status).toBe(401)
  })
})
