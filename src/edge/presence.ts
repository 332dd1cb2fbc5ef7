import {randomUUID} from 'node:crypto'
import {setTimeout as pause} from 'node:timers/promises'
import type {Client, Pool} from 'pg'
import {reconnecting, within} from '../database/reconnect.ts'
import {wakeable} from '../log/wakeable.ts'

/** Who has how many sockets at which node. Unlogged: after a crash of the database each node writes its own again. */
export const PRESENCE_DDL = `
CREATE SCHEMA IF NOT EXISTS state;
CREATE UNLOGGED TABLE IF NOT EXISTS state.nodes (node uuid PRIMARY KEY, expires timestamptz NOT NULL);
CREATE UNLOGGED TABLE IF NOT EXISTS state.presence (
  user_id text NOT NULL,
  node uuid NOT NULL REFERENCES state.nodes ON DELETE CASCADE,
  PRIMARY KEY (user_id, node)
);
ALTER TABLE state.presence ADD COLUMN IF NOT EXISTS sockets int NOT NULL DEFAULT 1;
CREATE INDEX IF NOT EXISTS presence_node ON state.presence (node);
`

/**
 * After `expiresMs` of silence a node counts as dead, and its people as gone. Who comes back within `lingerMs` was never
 * away: a page that is loaded anew, a node that is replaced.
 */
const TIMES = {beatMs: 1_000, expiresMs: 5_000, tellEveryMs: 5_000, lingerMs: 2_000}
const ANSWER_MS = 3_000
/** People a notification names; PostgreSQL takes 8,000 bytes. */
const NAMED = 100
/** More people than these are not asked about one by one: all are read. */
const MAX_ASKED = 5_000
const EVERYBODY = '*'

/** `timer`: until it ends nothing is told of the person. */
type Known = {isHere: boolean; isTold: boolean; timer: NodeJS.Timeout | null}

/** Whether a server runs on this database, or did until a moment ago. */
export const isServed = async (pool: Pool): Promise<boolean> =>
  (await pool.query('SELECT FROM state.nodes WHERE expires >= now() LIMIT 1')).rows.length > 0

/** Who is online, at any node. One person's sockets and nodes count as one. */
export type Presence = {
  /** A socket of this person has come; gives what says that it has gone. */
  arrive(userId: string): () => void
  /** As it was told last, so that an answer and the events after it agree. */
  isOnline(userId: string): boolean
  /** Sockets of this person at other nodes, as far as this one has heard. */
  elsewhere(userId: string): number
  /** Is called with each change, at most once in 5 s a person. */
  listen(listener: (userId: string, online: boolean) => void): void
  start(): Promise<void>
  stop(): Promise<void>
}

/**
 * One connection and one loop: what changed here is written, what others say has changed is read again, and each beat
 * prolongs this node and looks for dead ones. A notification only says about whom to ask, so its order does not matter.
 */
export const openPresence = ({url, times = TIMES}: {url: string; times?: typeof TIMES}): Presence => {
  const {beatMs, expiresMs, tellEveryMs, lingerMs} = times
  const node = randomUUID()
  const sockets = new Map<string, number>()
  const known = new Map<string, Known>()
  const elsewhere = new Map<string, number>()
  const listeners: ((userId: string, online: boolean) => void)[] = []
  const stopped = new AbortController()
  const work = wakeable()
  /** People of whom a socket came here, or went. */
  let changed = new Set<string>()
  let asked = new Set<string>()
  let askAll = true
  let isRegistered = false
  let alive = ''
  let beatAt = Number.NEGATIVE_INFINITY
  let running: Promise<void> | null = null

  const ask = (payload: string) => {
    if (payload === EVERYBODY || asked.size > MAX_ASKED) askAll = true
    else for (const userId of payload.split(' ')) asked.add(userId)
    work.all()
  }

  const listener = reconnecting(url, 'community presence', async (client) => {
    client.on('notification', ({payload}) => ask(payload ?? EVERYBODY))
    await client.query('LISTEN presence')
    askAll = true
  })

  const tell = (userId: string, one: Known) => {
    one.isTold = one.isHere
    one.timer = setTimeout(() => {
      one.timer = null
      consider(userId, one)
    }, tellEveryMs).unref()
    for (const listen of listeners) listen(userId, one.isTold)
  }

  const consider = (userId: string, one: Known): void => {
    if (one.timer || stopped.signal.aborted) return
    if (one.isHere === one.isTold) {
      if (!one.isHere) known.delete(userId)
    } else if (one.isHere) tell(userId, one)
    else {
      one.timer = setTimeout(() => {
        one.timer = null
        if (one.isHere) consider(userId, one)
        else tell(userId, one)
      }, lingerMs).unref()
    }
  }

  const note = (userId: string, isHere: boolean) => {
    const one = known.get(userId) ?? {isHere: false, isTold: false, timer: null}
    if (one.isHere === isHere) return
    one.isHere = isHere
    known.set(userId, one)
    consider(userId, one)
  }

  /** What could not be written is written with the next turn. */
  const orBack = (people: Set<string>, writing: Promise<unknown>) =>
    writing.catch((error: unknown) => {
      for (const userId of people) changed.add(userId)
      throw error
    })

  const beat = async (client: Client) => {
    const {rows} = await client.query<{node: string}>({
      name: 'beat',
      text: `WITH beat AS (UPDATE state.nodes SET expires = now() + $2 * interval '1 ms' WHERE node = $1),
               dead AS (DELETE FROM state.nodes WHERE expires < now() AND node <> $1)
             SELECT node FROM state.nodes WHERE expires >= now() OR node = $1 ORDER BY node`,
      values: [node, expiresMs],
    })
    beatAt = performance.now()
    isRegistered = rows.some((row) => row.node === node)
    const now = rows.map((row) => row.node).join()
    if (now !== alive) askAll = true
    alive = now
  }

  /** This node and everybody who is here, at the start and whenever others had to take it for dead. */
  const register = async (client: Client) => {
    const before = changed
    changed = new Set()
    await orBack(
      before,
      client.query(
        `WITH node AS (INSERT INTO state.nodes VALUES ($1, now() + $2 * interval '1 ms')),
         people AS (
           INSERT INTO state.presence (user_id, node, sockets)
           SELECT user_id, $1, sockets FROM unnest($3::text[], $4::int[]) AS n(user_id, sockets)
         )
       SELECT pg_notify('presence', '${EVERYBODY}')`,
        [node, expiresMs, [...sockets.keys()], [...sockets.values()]],
      ),
    )
    isRegistered = true
  }

  const write = async (client: Client) => {
    const before = changed
    changed = new Set()
    const people = [...before]
    const here = people.filter((userId) => sockets.has(userId))
    const names = Array.from({length: Math.ceil(people.length / NAMED)}, (_, index) =>
      people.slice(index * NAMED, (index + 1) * NAMED).join(' '),
    )
    await orBack(
      before,
      client.query({
        name: 'write presence',
        text: `WITH come AS (
               INSERT INTO state.presence (user_id, node, sockets)
               SELECT user_id, $1, sockets FROM unnest($2::text[], $5::int[]) AS n(user_id, sockets)
               ON CONFLICT (user_id, node) DO UPDATE SET sockets = excluded.sockets
             ), gone AS (DELETE FROM state.presence WHERE node = $1 AND user_id = ANY($3))
             SELECT pg_notify('presence', names) FROM unnest($4::text[]) AS names`,
        values: [
          node,
          here,
          people.filter((userId) => !sockets.has(userId)),
          names,
          here.map((userId) => sockets.get(userId)),
        ],
      }),
    )
  }

  const read = async (client: Client) => {
    const people = askAll ? null : [...asked]
    askAll = false
    asked = new Set()
    const reading = client.query<{userId: string; others: number}>({
      name: people ? 'read presence' : 'read all presence',
      text: `SELECT user_id AS "userId", coalesce(sum(sockets) FILTER (WHERE node <> $1), 0)::int AS others
             FROM state.presence JOIN state.nodes USING (node)
             WHERE expires >= now() ${people ? 'AND user_id = ANY($2)' : ''} GROUP BY user_id`,
      values: people ? [node, people] : [node],
    })
    const {rows} = await reading.catch((error: unknown) => {
      askAll = true
      throw error
    })
    const here = new Set(rows.map(({userId}) => userId))
    for (const userId of people ?? [...elsewhere.keys()]) elsewhere.delete(userId)
    for (const {userId, others} of rows) if (others > 0) elsewhere.set(userId, others)
    for (const userId of people ?? [...known.keys()]) note(userId, here.has(userId))
    for (const userId of here) note(userId, true)
  }

  const turn = async () => {
    const client = await listener.client()
    const step = (query: Promise<void>) =>
      within(ANSWER_MS, query, () => new Error('the database did not answer in time'))
    if (performance.now() >= beatAt + beatMs) await step(beat(client))
    if (!isRegistered) await step(register(client))
    if (changed.size > 0) await step(write(client))
    if (askAll || asked.size > 0) await step(read(client))
  }

  const run = async (tried: () => void) => {
    while (!stopped.signal.aborted) {
      const more = work.next()
      try {
        await turn()
      } catch {
        tried()
        listener.drop()
        // The beat says whether this node still counts.
        beatAt = Number.NEGATIVE_INFINITY
        await pause(beatMs, undefined, {signal: stopped.signal, ref: false}).catch(() => {})
        continue
      }
      tried()
      if (changed.size > 0 || askAll || asked.size > 0) continue
      const rest = new AbortController()
      const beatDue = pause(Math.max(0, beatAt + beatMs - performance.now()), undefined, {
        signal: AbortSignal.any([rest.signal, stopped.signal]),
        ref: false,
      }).catch(() => {})
      await Promise.race([more, beatDue])
      rest.abort()
    }
  }

  const change = (userId: string) => {
    changed.add(userId)
    work.all()
  }

  return {
    arrive: (userId) => {
      sockets.set(userId, (sockets.get(userId) ?? 0) + 1)
      change(userId)
      let isGone = false
      return () => {
        if (isGone) return
        isGone = true
        const left = sockets.get(userId)! - 1
        if (left > 0) sockets.set(userId, left)
        else sockets.delete(userId)
        change(userId)
      }
    },
    isOnline: (userId) => sockets.has(userId) || known.get(userId)?.isTold === true,
    elsewhere: (userId) => elsewhere.get(userId) ?? 0,
    listen: (one) => void listeners.push(one),
    start: async () => {
      // With a database that is slow it starts all the same, and knows a little later who is online.
      await new Promise<void>((tried) => {
        running = run(tried)
      })
    },
    stop: async () => {
      stopped.abort()
      await running
      for (const {timer} of known.values()) if (timer) clearTimeout(timer)
      try {
        if (isRegistered) {
          const client = await listener.client()
          const gone = client.query(
            `WITH gone AS (DELETE FROM state.nodes WHERE node = $1) SELECT pg_notify('presence', '${EVERYBODY}')`,
            [node],
          )
          await within(ANSWER_MS, gone, () => new Error('the database did not answer in time'))
        }
      } catch {
        // Then it expires.
      }
      await listener.close()
    },
  }
}
