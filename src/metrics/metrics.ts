import {Counter, collectDefaultMetrics, Gauge, Histogram, Registry} from 'prom-client'
import type {EventLog} from '../log/eventLog.ts'
import type {TailEvent} from '../log/tail.ts'

/** What is only known when it is asked for. A source that fails leaves its figures out of that answer. */
export type Sources = {
  /** Where the node's tail of the log is. */
  position(): bigint | null
  projections(): {name: string; position: bigint | null; live: boolean; fault: string | null}[]
  sockets(): number
  mailsQueued(): Promise<number>
}

/**
 * The figures of one server in this process. No label holds anything that a client chose: routes are patterns, all else is
 * from a list; the fault of a read table names an event by its ids.
 */
export type Metrics = {
  request(seen: {route: string; method: string; status: number | 'aborted'; seconds: number}): void
  /** A message went to so many sockets. */
  delivered(sockets: number): void
  /** The same log, its appends measured. */
  timed(log: EventLog): EventLog
  /** A listener of the tail: by it the age of what a table does not hold is known. */
  observe(event: TailEvent): void
  read(sources: Sources): void
  /** Prometheus' text format, version 0.0.4. Who asks meanwhile gets the same answer. */
  render(): Promise<string>
}

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
/** So many events are remembered by their age; what is older than all of them is at least as old as the oldest. */
const REMEMBERED = 5_000

// The process' own figures are the same for every server in it, and their observers can't be taken off again.
let ofProcess: Registry | null = null
const processRegistry = (): Registry => {
  if (ofProcess === null) {
    ofProcess = new Registry()
    collectDefaultMetrics({register: ofProcess})
  }
  return ofProcess
}

export const openMetrics = (): Metrics => {
  const registry = new Registry()
  const registers = [registry]
  const shared = processRegistry()

  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'From the first byte of a request to the end of its answer. route: the pattern; none: no such path.',
    labelNames: ['route', 'method', 'status'] as const,
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers,
  })
  const appends = new Histogram({
    name: 'community_append_duration_seconds',
    help: 'Appends to the log. outcome: ok, conflict or tooLarge; failed: not known, or the log was away.',
    labelNames: ['outcome'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
    registers,
  })
  const delivered = new Counter({
    name: 'community_messages_delivered_total',
    help: 'Messages handed to sockets: one message in a room of ten sockets is ten.',
    registers,
  })

  const gauge = (name: string, help: string) => new Gauge({name, help, registers})
  const position = gauge('community_log_position', "The newest event's position in the log, as this node follows it.")
  const sockets = gauge('community_sockets_connected', 'Socket.IO connections of this node.')
  const mails = gauge('community_mails_queued', 'Mails that wait to be sent, by any node.')
  const projection = (name: string, help: string) =>
    new Gauge({name: `community_projection_${name}`, help, labelNames: ['projection'] as const, registers})
  const positions = projection('position', 'Up to where in the log the read table is.')
  const lag = projection(
    'lag_positions',
    'How far the read table is behind the log: events where the log is in Postgres, bytes where it is EventStoreDB.',
  )
  const lagSeconds = projection(
    'lag_seconds',
    'The age of the oldest event that this node has seen and the read table does not hold; 0: it holds all.',
  )
  const live = projection('live', '1: the read table can be read. 0: it is being built.')
  const faulted = new Gauge({
    name: 'community_projection_faulted',
    help: '1: the read table stopped at an event that it can not take. fault: which, and why.',
    labelNames: ['projection', 'fault'] as const,
    registers,
  })

  const opened = Date.now()
  let seen: {position: bigint; at: number}[] = []
  let sources: Sources | null = null
  let rendering: Promise<string> | null = null

  const secondsBehind = (head: bigint | null, at: bigint | null): number => {
    if (head === null || (at ?? -1n) >= head) return 0
    const oldest = seen.find((event) => event.position > (at ?? -1n))
    const isOlder = oldest === undefined || oldest === seen[0]
    return (Date.now() - (isOlder ? Math.min(opened, oldest?.at ?? opened) : oldest.at)) / 1000
  }

  const measure = async (): Promise<void> => {
    if (!sources) return
    const head = sources.position()
    position.set(Number(head ?? -1n))
    sockets.set(sources.sockets())
    for (const gauge of [positions, lag, lagSeconds, live, faulted]) gauge.reset()
    for (const {name, position: at, live: isLive, fault} of sources.projections()) {
      const label = {projection: name}
      positions.set(label, Number(at ?? -1n))
      lag.set(label, Math.max(0, Number((head ?? -1n) - (at ?? -1n))))
      lagSeconds.set(label, secondsBehind(head, at))
      live.set(label, isLive ? 1 : 0)
      if (fault === null) faulted.set(label, 0)
      else faulted.set({...label, fault}, 1)
    }
    try {
      mails.set(await sources.mailsQueued())
    } catch {
      mails.set(Number.NaN)
    }
  }

  return {
    request: ({route, method, status, seconds}) =>
      requests.observe({route, method: METHODS.includes(method) ? method : 'other', status}, seconds),
    delivered: (sockets) => delivered.inc(sockets),
    timed: (log) => ({
      ...log,
      append: async (stream, events, expected) => {
        const end = appends.startTimer()
        try {
          const result = await log.append(stream, events, expected)
          end({outcome: result.ok ? 'ok' : result.reason})
          return result
        } catch (error) {
          end({outcome: 'failed'})
          throw error
        }
      },
    }),
    observe: ({position}) => {
      seen.push({position, at: Date.now()})
      if (seen.length > REMEMBERED * 2) seen = seen.slice(-REMEMBERED)
    },
    read: (given) => {
      sources = given
    },
    render: async () => {
      rendering ??= measure()
        .then(() => Promise.all([shared.metrics(), registry.metrics()]))
        .then((parts) => parts.join('\n'))
        .finally(() => {
          rendering = null
        })
      return rendering
    },
  }
}
