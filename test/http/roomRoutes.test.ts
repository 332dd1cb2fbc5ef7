import {beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {type Person, type Reply, signUp, type TestServer, type Visitor, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
let ann: Person
let bob: Person
let eve: Person
beforeAll(async () => {
  ann = await signUp(server(), {username: 'Ann'})
  bob = await signUp(server(), {username: 'Bob'})
  eve = await signUp(server(), {username: 'Eve'})
})

const next = ({headers}: Reply): string | null => /^<([^>]+)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1] ?? null
const createRoom = async (by: Visitor, body: object = {name: 'Lobby'}) => (await by.post('/api/rooms', body)).body.room
const expectRefused = (reply: Reply, status: number, code: string) =>
  expect([reply.status, reply.body.code], reply.text).toEqual([status, code])
const roomsOf = async (who: Visitor) => (await who.get('/api/rooms')).body.rooms.map(({id}: {id: string}) => id)
const invitationsOf = async (who: Visitor) =>
  (await who.get('/api/rooms')).body.invitations.map(({roomId}: {roomId: string}) => roomId)
const asBot = ({url, env}: TestServer, id: string): Visitor => {
  const visitor = visit(url)
  const headers = {authorization: `Bearer ${env.CHAT_BOT_TOKEN}`, 'x-bot-id': id}
  return {
    ...visitor,
    get: (path) => visitor.get(path, headers),
    post: (path, body) => visitor.post(path, body, headers),
  }
}

describe('createRoom', () => {
  it('makes a room of its creator alone, by invitation unless it is open', async () => {
    const invite = await ann.post('/api/rooms', {name: ' Lobby '})
    expect(invite.body).toEqual({
      ok: true,
      room: {
        id: expect.stringMatching(/^r-[a-z2-7]{26}$/),
        name: ' Lobby ',
        visibility: 'invite',
        createdBy: ann.id,
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        memberCount: 1,
        lastSeq: -1,
        lastMessage: null,
        readSeq: -1,
      },
    })
    const open = await ann.post('/api/rooms', {name: 'Market', visibility: 'open'})
    expect(open.body.room.visibility).toBe('open')
    for (const {room} of [invite.body, open.body]) {
      const read = await ann.get(`/api/rooms/${room.id}`)
      expect(read.body).toEqual({
        ok: true,
        room,
        members: [
          {userId: ann.id, username: 'Ann', isBot: false, joinedAt: room.createdAt, online: expect.any(Boolean)},
        ],
        messages: [],
      })
    }
    expect((await ann.get('/api/rooms')).body.rooms.slice(0, 2)).toEqual([open.body.room, invite.body.room])
    expectRefused(await ann.post('/api/rooms', {name: 'x', visibility: 'secret'}), 400, 'INVALID')
  })
})

describe('every room route', () => {
  it('wants a session', async () => {
    const {id} = await createRoom(ann)
    const nobody = visit(server().url)
    for (const path of ['/api/rooms', `/api/rooms/${id}`, `/api/rooms/${id}/messages`]) {
      expectRefused(await nobody.get(path), 401, 'NOT_SIGNED_IN')
    }
    for (const path of ['', `/${id}/join`, `/${id}/leave`, `/${id}/invite`, `/${id}/messages`]) {
      expectRefused(await nobody.post(`/api/rooms${path}`, {}), 401, 'NOT_SIGNED_IN')
    }
  })

  it('tells a room that one is not in from one that does not exist', async () => {
    const {id} = await createRoom(ann)
    for (const path of ['', '/messages']) {
      expectRefused(await eve.get(`/api/rooms/${id}${path}`), 403, 'NOT_A_MEMBER')
      expectRefused(await eve.get(`/api/rooms/r-nothing${path}`), 404, 'NOT_FOUND')
    }
    for (const [path, body, code] of [
      ['/messages', {content: 'x'}, 'NOT_A_MEMBER'],
      ['/invite', {userId: bob.id}, 'NOT_A_MEMBER'],
      ['/leave', undefined, 'NOT_A_MEMBER'],
      ['/join', undefined, 'NOT_INVITED'],
    ] as const) {
      expectRefused(await eve.post(`/api/rooms/${id}${path}`, body), 403, code)
      expectRefused(await eve.post(`/api/rooms/r-nothing${path}`, body), 404, 'NOT_FOUND')
    }
  })
})

describe('inviteUser', () => {
  it('takes an id, an address with and without its prefix, and normalises it', async () => {
    const forms = [
      bob.id,
      bob.email,
      `email_${bob.email}`,
      ` ${bob.email.toUpperCase()} `,
      bob.email.replace('@e', '@E'),
    ]
    for (const userId of forms) {
      const {id, name} = await createRoom(ann, {name: `for ${userId.length}`})
      expect((await ann.post(`/api/rooms/${id}/invite`, {userId})).body).toEqual({ok: true})
      const {invitations} = (await bob.get('/api/rooms')).body
      expect(invitations[0]).toEqual({
        roomId: id,
        roomName: name,
        invitedBy: {userId: ann.id, username: 'Ann'},
        invitedAt: expect.stringMatching(/Z$/),
      })
      expect((await bob.post(`/api/rooms/${id}/join`)).body).toEqual({ok: true})
      expect(await invitationsOf(bob)).not.toContain(id)
    }
  })

  it('refuses what is neither', async () => {
    const {id} = await createRoom(ann)
    for (const userId of [
      '',
      'x@',
      '@example.com',
      'a@b',
      'Ann',
      '12345678901234',
      '1234567890123456',
      '123456789012345678901',
      'discord_123',
      'reddit_ABC',
      'email_abc',
      'bot_echo',
      `email_${'a'.repeat(25)}1`,
      `github_${'a'.repeat(26)}`,
      'x'.repeat(321),
    ]) {
      const reply = await ann.post(`/api/rooms/${id}/invite`, {userId})
      expectRefused(reply, 400, 'INVALID')
      expect(reply.body.issues[0].path).toBe('userId')
    }
  })

  it('answers alike whether or not anybody is known by it', async () => {
    const {id} = await createRoom(ann)
    const answers = []
    for (const userId of [
      eve.email,
      eve.id,
      'nobody.yet@example.com',
      `email_${'a'.repeat(26)}`,
      `discord_${'b'.repeat(26)}`,
      '123456789012345678',
      'discord_12345678901234567',
      '1abc',
      'reddit_1abc',
      ann.id,
      ann.email,
    ]) {
      const {status, text, headers} = await ann.post(`/api/rooms/${id}/invite`, {userId})
      answers.push({status, text, headers: [...headers.keys()].sort()})
    }
    for (const answer of answers) expect(answer).toEqual(answers[0])
    const read = await ann.get(`/api/rooms/${id}`)
    expect(read.body.members).toHaveLength(1)
    expect(read.text).not.toMatch(/invited|invitation/)
  })

  it('lets nobody learn whose an address is: not by positions, not by what the inviter can export', async () => {
    const {id} = await createRoom(ann)
    const {id: other} = await createRoom(ann)
    await ann.post(`/api/rooms/${id}/invite`, {userId: eve.id})
    await ann.post(`/api/rooms/${id}/invite`, {userId: bob.email})
    await bob.post(`/api/rooms/${id}/join`)
    const positionAfter = async (userId: string) =>
      BigInt((await ann.post(`/api/rooms/${id}/invite`, {userId})).headers.get('x-log-position')!)
    const before = await positionAfter('nobody.at.all@example.com')
    for (const [index, userId] of [eve.email, 'nobody.else@example.com', bob.email].entries()) {
      expect(await positionAfter(userId)).toBe(before + BigInt(index + 1))
    }
    await ann.post(`/api/rooms/${other}/invite`, {userId: eve.email})
    const {events} = (await ann.get('/api/me/export')).body as {events: {type: string; data: object}[]}
    const invitations = events.filter(
      ({type, data}) => type === 'UserInvited' && [id, other].includes((data as {roomId: string}).roomId),
    )
    for (const {data} of invitations)
      expect(Object.keys(data).sort()).toEqual(['inviterId', 'inviterName', 'named', 'roomId'])
    const names = invitations.map(({data}) => (data as {named: string}).named)
    expect(names.filter((name) => name === eve.id)).toHaveLength(1)
    expect((await eve.get('/api/rooms')).body.invitations.map(({roomId}: {roomId: string}) => roomId)).toEqual(
      expect.arrayContaining([id, other]),
    )
  })

  it('reaches whoever registers the address later', async () => {
    const {id} = await createRoom(ann)
    await ann.post(`/api/rooms/${id}/invite`, {userId: 'Later@Example.com'})
    const late = await signUp(server(), {email: 'later@example.com'})
    expect(await invitationsOf(late)).toEqual([id])
    expect((await late.post(`/api/rooms/${id}/join`)).body).toEqual({ok: true})
    expect(await roomsOf(late)).toEqual([id])
  })

  it('gives one person one invitation, however they were named', async () => {
    const {id} = await createRoom(ann)
    for (const userId of [bob.id, bob.email, bob.id]) await ann.post(`/api/rooms/${id}/invite`, {userId})
    expect((await invitationsOf(bob)).filter((roomId: string) => roomId === id)).toEqual([id])
  })
})

describe('joinRoom', () => {
  it('uses the invitation up, and joining twice is no error', async () => {
    const {id} = await createRoom(ann)
    await ann.post(`/api/rooms/${id}/invite`, {userId: bob.id})
    for (let n = 0; n < 2; n++) expect((await bob.post(`/api/rooms/${id}/join`)).body).toEqual({ok: true})
    expect((await bob.get(`/api/rooms/${id}`)).body.room.memberCount).toBe(2)
    expect((await bob.post(`/api/rooms/${id}/leave`)).body).toEqual({ok: true})
    expectRefused(await bob.post(`/api/rooms/${id}/join`), 403, 'NOT_INVITED')
  })

  it('lets anybody into an open room, who then reads what was said before', async () => {
    const {id} = await createRoom(ann, {name: 'Market', visibility: 'open'})
    await ann.post(`/api/rooms/${id}/messages`, {content: 'before'})
    expect((await eve.post(`/api/rooms/${id}/join`)).body).toEqual({ok: true})
    expect((await eve.get(`/api/rooms/${id}/messages`)).body.messages[0].content).toBe('before')
  })
})

describe('leaveRoom', () => {
  it('declines for an invited person', async () => {
    const {id} = await createRoom(ann)
    await ann.post(`/api/rooms/${id}/invite`, {userId: bob.id})
    expect((await bob.post(`/api/rooms/${id}/leave`)).body).toEqual({ok: true})
    expect(await invitationsOf(bob)).not.toContain(id)
    expectRefused(await bob.post(`/api/rooms/${id}/join`), 403, 'NOT_INVITED')
    expectRefused(await bob.post(`/api/rooms/${id}/leave`), 403, 'NOT_A_MEMBER')
  })

  it('lets the last member go; the room stays for whoever is invited', async () => {
    const {id} = await createRoom(ann)
    await ann.post(`/api/rooms/${id}/invite`, {userId: bob.id})
    expect((await ann.post(`/api/rooms/${id}/leave`)).body).toEqual({ok: true})
    expect(await roomsOf(ann)).not.toContain(id)
    expectRefused(await ann.get(`/api/rooms/${id}`), 403, 'NOT_A_MEMBER')
    expect((await bob.post(`/api/rooms/${id}/join`)).body).toEqual({ok: true})
    expect((await bob.get(`/api/rooms/${id}`)).body.room.memberCount).toBe(1)
  })
})

describe('listRooms', () => {
  it('lists the rooms one is in, newest first, with the newest message', async () => {
    const person = await signUp(server())
    expect((await person.get('/api/rooms')).body).toEqual({ok: true, rooms: [], invitations: []})
    const [a, b] = [await createRoom(person, {name: 'a'}), await createRoom(person, {name: 'b'})]
    const {message} = (await person.post(`/api/rooms/${a.id}/messages`, {content: 'hi'})).body
    expect((await person.get('/api/rooms')).body.rooms).toEqual([b, {...a, lastSeq: 0, lastMessage: message}])
  })

  it('gives pages with a link, also of open rooms', async () => {
    const person = await signUp(server())
    const ids: string[] = []
    for (let n = 0; n < 5; n++) ids.unshift((await createRoom(person, {name: `${n}`, visibility: 'open'})).id)
    for (const query of ['', '&visibility=open']) {
      const seen: string[] = []
      let path: string | null = `/api/rooms?limit=2${query}`
      while (path) {
        const reply: Reply = await person.get(path)
        expect(reply.body.rooms.length).toBeLessThanOrEqual(2)
        seen.push(...reply.body.rooms.map(({id}: {id: string}) => id))
        path = next(reply)
      }
      expect(seen.slice(0, 5)).toEqual(ids)
      expect(new Set(seen).size).toBe(seen.length)
    }
  })

  it('shows of an open room that one is not in neither its messages nor what one has read', async () => {
    const {id} = await createRoom(ann, {name: 'Market', visibility: 'open'})
    const hidden = await createRoom(ann, {name: 'Hidden'})
    const {message} = (await ann.post(`/api/rooms/${id}/messages`, {content: 'psst'})).body
    const stranger = await signUp(server())
    const open = await stranger.get('/api/rooms?visibility=open')
    const room = open.body.rooms.find((one: {id: string}) => one.id === id)
    expect(room).toMatchObject({lastSeq: 0, lastMessage: null, readSeq: null, memberCount: 1})
    expect(open.text).not.toContain('psst')
    expect(open.text).not.toContain(hidden.id)
    await stranger.post(`/api/rooms/${id}/join`)
    const joined = (await stranger.get('/api/rooms?visibility=open')).body.rooms.find(
      (one: {id: string}) => one.id === id,
    )
    expect(joined).toMatchObject({lastMessage: message, readSeq: -1, memberCount: 2})
  })

  it('shows every room to a bot, which may read and write in each', async () => {
    const {id} = await createRoom(ann)
    const bot = asBot(server(), 'scout')
    expect(await roomsOf(bot)).toContain(id)
    const sent = await bot.post(`/api/rooms/${id}/messages`, {content: 'hi'})
    expect(sent.body.message).toMatchObject({userId: 'bot_scout', username: 'scout', isBot: true, seq: 0})
    expect((await bot.get(`/api/rooms/${id}/messages`)).body.messages).toEqual([sent.body.message])
    expect((await bot.get(`/api/rooms/${id}`)).body.room.lastMessage).toEqual(sent.body.message)
    expect((await bot.post(`/api/rooms/${id}/join`)).body).toEqual({ok: true})
    const {members} = (await ann.get(`/api/rooms/${id}`)).body
    expect(members[1]).toMatchObject({userId: 'bot_scout', isBot: true})
    for (const wrong of ['', 'A', 'a b', 'x'.repeat(33), 'ä']) {
      expectRefused(
        await visit(server().url).get('/api/rooms', {
          authorization: `Bearer ${server().env.CHAT_BOT_TOKEN}`,
          'x-bot-id': wrong,
        }),
        400,
        'INVALID',
      )
    }
  })
})

describe('readRoom', () => {
  it('lists members in the order of joining, in pages with a link', async () => {
    const {id} = await createRoom(ann, {name: 'Market', visibility: 'open'})
    const bots = Array.from({length: 6}, (_, index) => `m${index}`)
    for (const bot of bots) await asBot(server(), bot).post(`/api/rooms/${id}/join`)
    const seen: string[] = []
    let path: string | null = `/api/rooms/${id}?limit=3`
    while (path) {
      const reply: Reply = await ann.get(path)
      seen.push(...reply.body.members.map(({username}: {username: string}) => username))
      path = next(reply)
    }
    expect(seen).toEqual(['Ann', ...bots])
    const whole = await ann.get(`/api/rooms/${id}`)
    expect(whole.body.members.map(({username}: {username: string}) => username)).toEqual(['Ann', ...bots])
    const times = whole.body.members.map(({joinedAt}: {joinedAt: string}) => joinedAt)
    expect([...times].sort()).toEqual(times)
    expect(next(whole)).toBeNull()
  })

  it('shows at most 500 members at once', async () => {
    const {id} = await createRoom(ann, {name: 'Crowd', visibility: 'open'})
    for (let from = 0; from < 500; from += 50) {
      await Promise.all(
        Array.from({length: 50}, (_, index) => asBot(server(), `c${from + index}`).post(`/api/rooms/${id}/join`)),
      )
    }
    await eventually(async () => (await ann.get(`/api/rooms/${id}`)).body.room.memberCount === 501)
    const first = await ann.get(`/api/rooms/${id}`)
    expect(first.body.members).toHaveLength(500)
    const rest = await ann.get(next(first)!)
    expect([rest.body.members.length, next(rest)]).toEqual([1, null])
  })

  it('shows the newest 50 messages, oldest first', async () => {
    const {id} = await createRoom(ann)
    await Promise.all(
      Array.from({length: 60}, (_, index) => ann.post(`/api/rooms/${id}/messages`, {content: `${index}`})),
    )
    const {messages, room} = (await ann.get(`/api/rooms/${id}`)).body
    expect(messages.map(({seq}: {seq: number}) => seq)).toEqual(Array.from({length: 50}, (_, index) => index + 10))
    expect(room).toMatchObject({lastSeq: 59, lastMessage: messages.at(-1)})
  })
})
