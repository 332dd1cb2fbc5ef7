import {setTimeout as pause} from 'node:timers/promises'
import {z} from 'zod'
import type {Parts} from '../edge/parts.ts'
import type {DocumentedEvent} from '../edge/socketEvent.ts'
import {listSmallRoomsOf} from '../projections/rooms.ts'
import type {Delivery} from './delivery.ts'

/** In larger rooms one reads in the list of members who is online. */
const MAX_MEMBERS = 200
/** People whose rooms are looked up at once. */
const AT_ONCE = 500
const AGAIN_MS = 1_000

export const presenceDocumented: DocumentedEvent = {
  name: 'presence',
  from: 'server',
  summary: 'Somebody came online, or is gone',
  description: `To the sockets that joined a room with that person, of at most ${MAX_MEMBERS} members, and at most once in 5 seconds a
person. Who has several connections is online until the last one has ended, and a little longer: to load a page anew is not told.`,
  args: [{name: 'presence', shape: z.object({userId: z.string(), online: z.boolean()})}],
}

/** Tells this node's sockets who of the people in their rooms comes and goes; who is where is looked up for many at once. */
export const openPresenceEvents = (
  {pool, presence}: Pick<Parts, 'pool' | 'presence'>,
  delivery: Delivery,
): {stop(): void} => {
  /** The newest that is to be told of each. */
  const waiting = new Map<string, boolean>()
  const stopped = new AbortController()
  let isTelling = false

  const tellSome = async () => {
    const some = [...waiting.keys()].slice(0, AT_ONCE)
    const roomsOf = await listSmallRoomsOf(pool, some, MAX_MEMBERS)
    for (const userId of some) {
      const online = waiting.get(userId)
      waiting.delete(userId)
      const roomIds = roomsOf.get(userId)
      if (roomIds) delivery.tellRooms(roomIds, 'presence', {userId, online})
    }
  }

  const tellAll = async () => {
    if (isTelling) return
    isTelling = true
    while (waiting.size > 0 && !stopped.signal.aborted) {
      if (!delivery.hasRooms()) waiting.clear()
      // While the tables can't be read it waits, and what is told then is what is so then.
      else await tellSome().catch(() => pause(AGAIN_MS, undefined, {signal: stopped.signal}).catch(() => {}))
    }
    isTelling = false
  }

  presence.listen((userId, online) => {
    waiting.set(userId, online)
    void tellAll()
  })
  return {stop: () => stopped.abort()}
}
