import {setTimeout as pause} from 'node:timers/promises'
import type {RoomId} from '../../src/domain/room.ts'
import {newRoomId} from '../../src/keys/ids.ts'
import {type Bench, beginWork, compareWork, type Figure, inTurn, judge, type Work} from '../harness.ts'
import type {Running} from '../place.ts'
import {openWire, type Wire} from '../wire.ts'
import {fillWorld, people, register, roomOf, signIn, textOf} from '../world.ts'

/** So many people in rooms of so many each, and their cookies. */
const roomsDatabase = async (
  {place}: Bench,
  {sockets, rooms, members}: {sockets: number; rooms: number; members: number},
): Promise<{databaseUrl: string; cookies: string[]; roomIds: RoomId[]; roomsOf: (socket: number) => RoomId[]}> => {
  const all = people(sockets)
  const roomIds = Array.from({length: rooms}, newRoomId)
  // Each room has the next ones of a circle.
  const membersOf = (room: number) => Array.from({length: members}, (_, n) => (room * members + n) % sockets)
  const databaseUrl = await place.freshDatabase((url) =>
    fillWorld(url, async (world) => {
      await register(world, all)
      await world.append(
        roomIds.map((roomId, room) =>
          roomOf(
            roomId,
            membersOf(room).map((n) => all[n]!),
          ),
        ),
      )
    }),
  )
  return {
    databaseUrl,
    cookies: await signIn(databaseUrl, all),
    roomIds,
    roomsOf: (socket) => roomIds.filter((_, room) => membersOf(room).includes(socket)),
  }
}

const connectAll = async (
  running: Running,
  {cookies, roomsOf}: {cookies: string[]; roomsOf: (socket: number) => RoomId[]},
): Promise<Wire[]> => {
  const wires: Wire[] = []
  for (const [socket, cookie] of cookies.entries()) {
    const wire = await openWire(running.url, cookie)
    for (const roomId of roomsOf(socket)) {
      const answer = await wire.ask('join_room', roomId)
      if (!answer.includes('"ok":true')) throw new Error(`a socket could not join: ${answer}`)
    }
    wires.push(wire)
  }
  return wires
}

const SENDERS = 16
const IN_FLIGHT = 4
const CONTENT = textOf(100)

/**
 * 16 people send into one room until the time is over and all have everything: four messages under way each, or so many a
 * second.
 */
export const flood = async (
  running: Running,
  wires: readonly Wire[],
  {roomId, seconds, perSecond}: {roomId: RoomId; seconds: number; perSecond: number | undefined},
): Promise<Work> => {
  let deliveries = 0
  for (const wire of wires)
    wire.onMessage(() => {
      deliveries++
    })
  const worked = await beginWork(running)
  const began = performance.now()
  let sent = 0
  const sendOne = async (wire: Wire) => {
    const answer = await wire.ask('send_message', {roomId, content: CONTENT})
    if (!answer.includes('"ok":true')) throw new Error(`a message was refused: ${answer}`)
    sent++
  }
  const senders = wires.slice(0, SENDERS)
  if (perSecond === undefined) {
    const sendAll = async (wire: Wire) => {
      while (performance.now() - began < seconds * 1_000) await sendOne(wire)
    }
    await Promise.all(senders.flatMap((wire) => Array.from({length: IN_FLIGHT}, () => sendAll(wire))))
  } else {
    const under: Promise<void>[] = []
    for (let n = 0; n < seconds * perSecond; n++) {
      const early = began + (n * 1_000) / perSecond - performance.now()
      if (early > 0) await pause(early)
      under.push(sendOne(senders[n % senders.length]!))
    }
    await Promise.all(under)
  }
  const until = performance.now() + 10_000
  while (deliveries < sent * wires.length && performance.now() < until) await pause(1)
  if (deliveries !== sent * wires.length) throw new Error(`${deliveries} deliveries of ${sent} messages`)
  return worked(sent)
}

const throughput = (most: number, atLeast: number): Figure => ({
  name: `room-of-${most}`,
  measure: async (bench) => {
    const {place, quick} = bench
    const members = quick ? 20 : most
    const world = await roomsDatabase(bench, {sockets: members, rooms: 1, members})
    const ours = await place.server({databaseUrl: world.databaseUrl})
    const same = await place.baseline('bareSockets.ts', {durable: false})
    const [our, bare] = [await connectAll(ours, world), await connectAll(same, world)]
    const side = (running: Running, wires: Wire[]) => (perSecond?: number) =>
      flood(running, wires, {roomId: world.roomIds[0]!, seconds: quick ? 0.5 : 3, perSecond})
    const rows = await compareWork(
      bench,
      {
        figure: `room of ${members}, messages delivered to all`,
        of: 'messages',
        leavesOut: `TLS, a network, polling, messages of other than 100 characters. ${SENDERS} senders, with ${IN_FLIGHT} messages under way each where no pace is given; the clients are ws, which read no more than they must.`,
      },
      side(ours, our),
      [{against: 'bare Socket.IO broadcast without a store', side: side(same, bare), atLeast}],
    )
    for (const wire of [...our, ...bare]) wire.close()
    return rows
  },
})

export const roomOf50 = throughput(50, 0.7)
export const roomOf200 = throughput(200, 0.8)

/** Messages at a steady pace, and how long each takes from being sent to being received, at every member. */
const times = async (
  wires: readonly Wire[],
  {
    seconds,
    perSecond,
    sender,
    roomOfNext,
  }: {seconds: number; perSecond: number; sender: (n: number) => Wire; roomOfNext: (n: number) => RoomId},
): Promise<{p50: number; p99: number}> => {
  const taken: number[] = []
  const sentAt = new Map<string, number>()
  for (const wire of wires)
    wire.onMessage((packet) => {
      const at = packet.indexOf('#')
      taken.push(performance.now() - sentAt.get(packet.slice(at, packet.indexOf('#', at + 1)))!)
    })
  const answers: Promise<string>[] = []
  const began = performance.now()
  for (let n = 0; n < seconds * perSecond; n++) {
    await pause(Math.max(0, began + (n * 1_000) / perSecond - performance.now()))
    sentAt.set(`#${n}`, performance.now())
    answers.push(sender(n).ask('send_message', {roomId: roomOfNext(n), content: `#${n}#${CONTENT}`}))
  }
  await Promise.all(answers)
  const until = performance.now() + 1_000
  while (taken.length % answers.length !== 0 && performance.now() < until) await pause(1)
  await pause(50)
  taken.sort((a, b) => a - b)
  return {p50: taken[taken.length >> 1]!, p99: taken[Math.floor(taken.length * 0.99)]!}
}

const LATENCY_LEAVES_OUT =
  'TLS, a network, and clients that are slow themselves; the clients are ws. The baseline writes each message to a file and waits for fsync before it is broadcast.'

export const delivery: Figure = {
  name: 'delivery-times',
  measure: async (bench) => {
    const {place, quick} = bench
    const world = await roomsDatabase(bench, {sockets: 50, rooms: 1, members: 50})
    const ours = await place.server({databaseUrl: world.databaseUrl})
    const same = await place.baseline('bareSockets.ts', {durable: true})
    const [our, bare] = [await connectAll(ours, world), await connectAll(same, world)]
    const measure = (wires: Wire[]) => () =>
      times(wires, {
        seconds: quick ? 1 : 6,
        perSecond: 20,
        sender: (n) => wires[n % wires.length]!,
        roomOfNext: () => world.roomIds[0]!,
      })
    const samples = await inTurn(bench, {ours: measure(our), same: measure(bare)})
    for (const wire of [...our, ...bare]) wire.close()
    const about = {
      against: 'bare Socket.IO + one fsync',
      unit: 'ms',
      leavesOut: LATENCY_LEAVES_OUT,
    }
    return (['p50', 'p99'] as const).map((p) =>
      judge({
        ...about,
        figure: `20 messages/s to 50 members, sent → received, ${p}`,
        ours: samples.ours.map((sample) => sample[p]),
        baseline: samples.same.map((sample) => sample[p]),
        atMost: p === 'p50' ? 1.5 : 2,
      }),
    )
  },
}

export const manyRooms: Figure = {
  name: 'many-rooms',
  measure: async (bench) => {
    const {place, quick} = bench
    const [rooms, sockets] = quick ? [20, 20] : [1_000, 100]
    const world = await roomsDatabase(bench, {sockets, rooms, members: 10})
    const ours = await place.server({databaseUrl: world.databaseUrl})
    const same = await place.baseline('bareSockets.ts', {durable: true})
    const [our, bare] = [await connectAll(ours, world), await connectAll(same, world)]
    const measure = (wires: Wire[]) => () =>
      times(wires, {
        seconds: quick ? 1 : 6,
        perSecond: 200,
        // The first member of the room.
        sender: (n) => wires[((n % rooms) * 10) % sockets]!,
        roomOfNext: (n) => world.roomIds[n % rooms]!,
      })
    const samples = await inTurn(bench, {ours: measure(our), same: measure(bare)})
    for (const wire of [...our, ...bare]) wire.close()
    return [
      judge({
        figure: `${rooms.toLocaleString('en')} rooms of 10, 200 messages/s over all, sent → received, p99`,
        against: 'bare Socket.IO + one fsync',
        unit: 'ms',
        ours: samples.ours.map(({p99}) => p99),
        baseline: samples.same.map(({p99}) => p99),
        atMost: 2,
        leavesOut: LATENCY_LEAVES_OUT,
      }),
    ]
  },
}
