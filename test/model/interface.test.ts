import fc from 'fast-check'
import {beforeAll, describe, expect, it} from 'vitest'
import {isLong} from '../faults/load.ts'
import {type Node, startNodes} from '../faults/nodes.ts'
import {eventually} from '../support/eventually.ts'
import {range} from '../support/rooms.ts'
import {BOT_TOKEN, connect, signUp, type TestSocket, type Visitor, visit} from '../support/server.ts'

/** The rules once more, as plainly as they can be said: what people must see of each other through any node. */
type ModelRoom = {
  id: string
  visibility: 'invite' | 'open'
  /** In the order of joining. */
  members: number[]
  invited: Set<number>
  messages: {by: number; content: string; nonce: string | undefined}[]
  read: Map<number, number>
}
/** A socket and what it must have been sent: which message of which room, in order. */
type ModelSocket = {socket: TestSocket; node: number; who: number; rooms: Set<number>; expected: [string, number][]}
type World = {
  nodes: Node[]
  /** Ann, Bob and Eve; the last is a bot. */
  people: Visitor[]
  ids: string[]
  rooms: Map<number, ModelRoom>
  sockets: Map<string, ModelSocket>
  run: number
}
type Step = {says: string; run(world: World): Promise<void>}

const NAMES = ['Ann', 'Bob', 'Eve', 'the bot']
const BOT = 3
const NONE = 'no-such-room'
const PATIENCE = {ms: 20_000}

const at = (world: World, node: number, who: number): Visitor => {
  const {url} = world.nodes[node]!.server
  const {cookies} = world.people[who]!
  const visitor = visit(url, cookies)
  const headers: Record<string, string> = who === BOT ? {authorization: `Bearer ${BOT_TOKEN}`, 'x-bot-id': 'model'} : {}
  const request: Visitor['request'] = (method, path, body, more) =>
    visitor.request(method, path, body, {...headers, ...more})
  return {
    ...visitor,
    request,
    get: (path, more) => request('GET', path, undefined, more),
    post: (path, body, more) => request('POST', path, body, more),
  }
}
const codeOf = ({ok, code}: {ok: boolean; code?: string}) => (ok ? 'done' : code)

/** Who left is believed to be there until a node's tail has seen the leave: waits until all have. */
const allSeen = async ({nodes}: World, position: bigint): Promise<void> => {
  for (const {server} of nodes) {
    await eventually(async () => {
      const metrics = await (await fetch(`${server.url}/metrics`)).text()
      return BigInt(Number(/^community_log_position (\S+)$/m.exec(metrics)?.[1] ?? 0)) >= position
    }, PATIENCE)
  }
}

const isIn = (room: ModelRoom, who: number) => room.members.includes(who)

/** What a room's newest message means for the sockets that joined it. */
const deliver = (world: World, index: number, seq: number) => {
  for (const one of world.sockets.values())
    if (one.rooms.has(index)) one.expected.push([world.rooms.get(index)!.id, seq])
}

const node = fc.nat({max: 1})
const anybody = fc.nat({max: BOT})
const aPerson = fc.nat({max: BOT - 1})
const aRoom = fc.nat({max: 1})
const aSlot = fc.nat({max: 1})

const makeRoom = fc.tuple(node, aPerson, aRoom, fc.constantFrom('open' as const, 'invite' as const)).map(
  ([node, who, index, visibility]): Step => ({
    says: `${NAMES[who]} makes room ${index}, ${visibility}, at node ${node}`,
    run: async (world) => {
      if (world.rooms.has(index)) return
      const headers = {'idempotency-key': `run-${world.run}-room-${index}`}
      const reply = await at(world, node, who).post('/api/rooms', {name: `Room ${index}`, visibility}, headers)
      expect(reply.status, reply.text).toBe(200)
      const {id} = reply.body.room
      world.rooms.set(index, {
        id,
        visibility,
        members: [who],
        invited: new Set(),
        messages: [],
        read: new Map(),
      })
    },
  }),
)

const invite = fc.tuple(node, anybody, aRoom, aPerson).map(
  ([node, who, index, whom]): Step => ({
    says: `${NAMES[who]} invites ${NAMES[whom]} to room ${index} at node ${node}`,
    run: async (world) => {
      const room = world.rooms.get(index)
      const {body} = await at(world, node, who).post(`/api/rooms/${room?.id ?? NONE}/invite`, {
        userId: world.ids[whom],
      })
      if (!room) return expect(body.code).toBe('NOT_FOUND')
      if (!isIn(room, who) && who !== BOT) return expect(body.code).toBe('NOT_A_MEMBER')
      expect(codeOf(body)).toBe('done')
      if (!isIn(room, whom)) room.invited.add(whom)
    },
  }),
)

const join = fc.tuple(node, aPerson, aRoom).map(
  ([node, who, index]): Step => ({
    says: `${NAMES[who]} joins room ${index} at node ${node}`,
    run: async (world) => {
      const room = world.rooms.get(index)
      const {body} = await at(world, node, who).post(`/api/rooms/${room?.id ?? NONE}/join`)
      if (!room) return expect(body.code).toBe('NOT_FOUND')
      if (isIn(room, who)) return expect(codeOf(body)).toBe('done')
      if (room.visibility === 'invite' && !room.invited.has(who)) return expect(body.code).toBe('NOT_INVITED')
      expect(codeOf(body)).toBe('done')
      room.invited.delete(who)
      room.members.push(who)
    },
  }),
)

const leave = fc.tuple(node, aPerson, aRoom).map(
  ([node, who, index]): Step => ({
    says: `${NAMES[who]} leaves room ${index} at node ${node}`,
    run: async (world) => {
      const room = world.rooms.get(index)
      const {body, headers} = await at(world, node, who).post(`/api/rooms/${room?.id ?? NONE}/leave`)
      if (!room) return expect(body.code).toBe('NOT_FOUND')
      if (!isIn(room, who)) return expect(codeOf(body)).toBe(room.invited.delete(who) ? 'done' : 'NOT_A_MEMBER')
      expect(codeOf(body)).toBe('done')
      room.members = room.members.filter((one) => one !== who)
      for (const one of world.sockets.values()) if (one.who === who) one.rooms.delete(index)
      await allSeen(world, BigInt(headers.get('x-log-position')!))
    },
  }),
)

const open = fc.tuple(node, anybody, aSlot).map(
  ([node, who, slot]): Step => ({
    says: `${NAMES[who]} connects ${slot} to node ${node}`,
    run: async (world) => {
      world.sockets.get(`${who} ${slot}`)?.socket.disconnect()
      const socket = await connect(at(world, node, who), {
        ...(slot === 0 ? {transports: ['websocket']} : {}),
        ...(who === BOT ? {auth: {botToken: BOT_TOKEN, botId: 'model', botName: 'Model'}} : {}),
      })
      world.sockets.set(`${who} ${slot}`, {socket, node, who, rooms: new Set(), expected: []})
    },
  }),
)

const enter = fc.tuple(anybody, aSlot, aRoom, fc.constantFrom('none', 'all', 'half', 'newest', 'future')).map(
  ([who, slot, index, since]): Step => ({
    says: `${NAMES[who]} on ${slot} enters room ${index} since ${since}`,
    run: async (world) => {
      const one = world.sockets.get(`${who} ${slot}`)
      if (!one) return
      const room = world.rooms.get(index)
      const newest = (room?.messages.length ?? 0) - 1
      const from = {none: undefined, all: -1, half: Math.floor(newest / 2), newest, future: newest + 1}[since]!
      const answer = await one.socket.ask('join_room', room?.id ?? NONE, from === undefined ? {} : {since: from})
      if (!room) return expect(answer.code).toBe('NOT_FOUND')
      if (!isIn(room, who) && who !== BOT) return expect(answer.code).toBe('NOT_A_MEMBER')
      // A bot is added, and the join refused all the same.
      if (!isIn(room, who)) room.members.push(who)
      if (from !== undefined && from > newest) {
        one.rooms.delete(index)
        return expect(answer.code).toBe('SINCE_UNKNOWN')
      }
      expect([codeOf(answer), answer.seq]).toEqual(['done', newest])
      if (from !== undefined) for (const seq of range(from + 1, newest + 1)) one.expected.push([room.id, seq])
      one.rooms.add(index)
    },
  }),
)

type Sending = {node: number; who: number; content: string; nonce: string | undefined}
const sending = fc.record({
  node,
  who: anybody,
  content: fc.constantFrom('hi', 'ho'),
  nonce: fc.constantFrom(undefined, undefined, 'n', 'm'),
})

/** One or several at once: in which order they are stored is the log's to say, the rest is not. */
const send = fc.tuple(aRoom, fc.array(sending, {minLength: 1, maxLength: 4}), fc.boolean()).map(
  ([index, all, bySocket]): Step => ({
    says: `in room ${index}: ${all.map(({who, content, nonce, node}) => `${NAMES[who]} says ${content} at node ${node}${nonce ? ` as ${nonce}` : ''}`).join(', ')}`,
    run: async (world) => {
      const room = world.rooms.get(index)
      const roomId = room?.id ?? NONE
      const answers = await Promise.all(
        all.map(async ({node, who, content, nonce}) => {
          const socket = world.sockets.get(`${who} 0`)?.socket
          if (bySocket && socket) return socket.ask('send_message', {roomId, content, nonce})
          return (await at(world, node, who).post(`/api/rooms/${roomId}/messages`, {content, nonce})).body
        }),
      )
      if (!room) return expect(answers.map(({code}) => code)).toEqual(all.map(() => 'NOT_FOUND'))
      const before = room.messages.length
      const stored = answers.map((answer, index) => ({answer, sent: all[index]!}))
      // What is new comes in the order of its seq.
      stored.sort((a, b) => (a.answer.message?.seq ?? -1) - (b.answer.message?.seq ?? -1))
      for (const {answer, sent} of stored) expectStored(room, answer, sent)
      for (const seq of range(before, room.messages.length)) deliver(world, index, seq)
    },
  }),
)

// biome-ignore lint/suspicious/noExplicitAny: answers have every shape
const expectStored = (room: ModelRoom, answer: any, {who, content, nonce}: Sending): void => {
  const first = room.messages.findIndex((one) => nonce !== undefined && one.nonce === nonce && one.by === who)
  // A repeat is answered as the first time, also to who has left.
  if (first < 0 && !isIn(room, who) && who !== BOT) return void expect(answer.code).toBe('NOT_A_MEMBER')
  expect(codeOf(answer)).toBe('done')
  if (first >= 0) {
    expect([answer.message.seq, answer.message.content]).toEqual([first, room.messages[first]!.content])
    return
  }
  expect(answer.message.seq).toBe(room.messages.length)
  // Of two at once with the same nonce either may be the one that is stored.
  room.messages.push({by: who, content: answer.message.content, nonce})
  if (nonce === undefined) expect(answer.message.content).toBe(content)
}

const read = fc.tuple(aPerson, aSlot, aRoom, fc.integer({min: -1, max: 4})).map(
  ([who, slot, index, seq]): Step => ({
    says: `${NAMES[who]} on ${slot} has read room ${index} to ${seq}`,
    run: async (world) => {
      const one = world.sockets.get(`${who} ${slot}`)
      if (!one) return
      const room = world.rooms.get(index)
      const answer = await one.socket.ask('read', {roomId: room?.id ?? NONE, seq})
      if (!room) return expect(answer.code).toBe('NOT_FOUND')
      if (!isIn(room, who)) return expect(answer.code).toBe('NOT_A_MEMBER')
      if (seq >= room.messages.length) return expect(answer.code).toBe('SINCE_UNKNOWN')
      expect(codeOf(answer)).toBe('done')
      room.read.set(who, Math.max(seq, room.read.get(who) ?? -1))
    },
  }),
)

const close = fc.tuple(anybody, aSlot).map(
  ([who, slot]): Step => ({
    says: `${NAMES[who]} closes ${slot}`,
    run: async (world) => {
      await expectReceived(world)
      world.sockets.get(`${who} ${slot}`)?.socket.disconnect()
      world.sockets.delete(`${who} ${slot}`)
    },
  }),
)

const restart = fc.tuple(node, fc.constantFrom('SIGKILL' as const, 'SIGTERM' as const)).map(
  ([index, signal]): Step => ({
    says: `node ${index} gets ${signal} and starts again`,
    run: async (world) => {
      await expectReceived(world)
      await world.nodes[index]!.server.end(signal)
      for (const [key, one] of [...world.sockets]) {
        if (one.node !== index) continue
        one.socket.disconnect()
        world.sockets.delete(key)
      }
      await world.nodes[index]!.restart()
    },
  }),
)

/** What each socket was to be sent, and nothing else. */
const expectReceived = async ({sockets}: World): Promise<void> => {
  for (const {socket, expected, who} of sockets.values()) {
    await eventually(() => socket.messages().length >= expected.length, {
      ...PATIENCE,
      what: `what ${NAMES[who]} is sent`,
    })
    // What was sent to it before arrives before the answer to this.
    await socket.ask('nonsense')
    expect([NAMES[who], socket.messages().map(({roomId, seq}) => [roomId, seq])]).toEqual([NAMES[who], expected])
  }
}

/** Every member, through every node, reads the room as the rules say. */
const expectRead = async (world: World): Promise<void> => {
  for (const node of world.nodes.keys()) {
    for (const room of world.rooms.values()) {
      for (const who of [0, 1, 2]) {
        const reply = await eventually(async () => {
          const reply = await at(world, node, who).get(`/api/rooms/${room.id}`)
          return reply.status === 503 ? null : reply
        }, PATIENCE)
        if (!isIn(room, who)) {
          expect(reply.body.code).toBe('NOT_A_MEMBER')
          continue
        }
        const {room: shown, members, messages} = reply.body
        expect(members.map(({userId}: {userId: string}) => world.ids.indexOf(userId))).toEqual(room.members)
        expect([shown.lastSeq, shown.readSeq]).toEqual([room.messages.length - 1, room.read.get(who) ?? -1])
        expect(
          messages.map((one: {userId: string; content: string}) => [world.ids.indexOf(one.userId), one.content]),
        ).toEqual(room.messages.slice(-50).map(({by, content}) => [by, content]))
      }
    }
  }
}

const step = fc.oneof(
  {weight: 5, arbitrary: makeRoom},
  {weight: 3, arbitrary: invite},
  {weight: 6, arbitrary: join},
  {weight: 3, arbitrary: leave},
  {weight: 5, arbitrary: open},
  {weight: 10, arbitrary: enter},
  {weight: 12, arbitrary: send},
  {weight: 3, arbitrary: read},
  {weight: 2, arbitrary: close},
  {weight: 1, arbitrary: restart},
)
const steps = fc.array(
  step.map((one) => ({...one, toString: () => one.says})),
  {minLength: 1, maxLength: 50, size: 'max'},
)

describe('people on two nodes', () => {
  let nodes: Node[]
  beforeAll(async () => {
    nodes = await startNodes(2)
  })

  it('see of each other what the rules say, over HTTP and sockets, while nodes are killed and started', {
    timeout: isLong ? 600_000 : 120_000,
  }, async () => {
    const signedUp = []
    for (const username of NAMES.slice(0, BOT)) signedUp.push(await signUp(nodes[0]!.server, {username}))
    const people: Visitor[] = [...signedUp, visit(nodes[0]!.server.url)]
    const ids = [...signedUp.map(({id}) => id), 'bot_model']
    let run = 0
    let running: Promise<void> = Promise.resolve()
    const play = async (given: Step[]) => {
      const world: World = {nodes, people, ids, rooms: new Map(), sockets: new Map(), run: ++run}
      try {
        for (const one of given) await one.run(world)
        await expectReceived(world)
        await expectRead(world)
      } finally {
        for (const {socket} of world.sockets.values()) socket.disconnect()
      }
    }
    await fc.assert(
      fc.asyncProperty(steps, (given) => {
        running = play(given)
        return running
      }),
      {numRuns: 10_000, interruptAfterTimeLimit: isLong ? 150_000 : 7_000, markInterruptAsFailure: false},
    )
    // The last run was only left alone.
    await running
    process.stdout.write(`${run} runs of random steps\n`)
  })
})
