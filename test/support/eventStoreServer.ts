import shared from '@eventstore/db-client/generated/shared_pb.js'
import services from '@eventstore/db-client/generated/streams_grpc_pb.js'
import messages, {
  type AppendReq,
  type AppendResp,
  type ReadReq,
  type ReadResp,
} from '@eventstore/db-client/generated/streams_pb.js'
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js'

export type StoredEvent = {
  stream: string
  revision: number
  position: bigint
  id: string
  type: string
  data: Uint8Array
  metadata: Uint8Array
}

type Reading = {
  kind: 'stream' | 'all' | 'subscription'
  stream: string
  from: 'start' | 'end' | bigint
  backwards: boolean
  count: number
  /** Of stream names, as the client sent it. */
  filter: RegExp | null
}

type Call = ServerWritableStream<ReadReq, ReadResp>

/**
 * What an EventStoreDB 23.10 answers to appends and reads, from a list in memory, and whatever a test wants to go wrong.
 * It speaks the client package's own generated protocol. `answerAppend` and `answerRead` may be replaced at any time.
 */
export type EventStoreServer = {
  port: number
  url: string
  /** The whole log; a test may change it behind the clients' backs. */
  events: StoredEvent[]
  appends: number
  /** `store` does what an honest server does and gives its answer. A promise that never settles is never answered. */
  answerAppend: (store: () => AppendResp) => AppendResp | Promise<AppendResp>
  /** Returns whether the honest answer follows. Throws, or answers by itself, otherwise. */
  answerRead: (reading: Reading, call: Call) => boolean | Promise<boolean>
  /** The subscriptions that are open, and how many events each was handed. */
  subscriptions: Map<Call, {events: number; waiting: StoredEvent[]; live: boolean; filter: RegExp | null}>
  add(stream: string, ...data: object[]): void
  /** Resets every connection and stops listening; the log stays. */
  die(): void
  /** Listens again, on the same port. */
  revive(): Promise<void>
}

/** How many events a live subscription may be behind before it is dropped, as in 23.10. */
const LIVE_BUFFER = 32
const RECORD_BYTES = 100n

export const startEventStoreServer = async (events: StoredEvent[] = []): Promise<EventStoreServer> => {
  let grpc = new Server()

  const fake: EventStoreServer = {
    port: 0,
    url: '',
    events,
    appends: 0,
    answerAppend: (store) => store(),
    answerRead: () => true,
    subscriptions: new Map(),
    add: (stream, ...data) => {
      for (const one of data) {
        store(stream, {id: crypto.randomUUID(), type: 'Added', data: Buffer.from(JSON.stringify(one))})
      }
    },
    die: () => grpc.forceShutdown(),
    revive: async () => {
      grpc = new Server()
      grpc.addService(services.StreamsService, {append, read} as never)
      fake.port = await new Promise((resolve, reject) => {
        grpc.bindAsync(`127.0.0.1:${fake.port}`, ServerCredentials.createInsecure(), (error, port) => {
          if (error) reject(error)
          else resolve(port)
        })
      })
      fake.url = `esdb://127.0.0.1:${fake.port}?tls=false`
    },
  }

  const ofStream = (stream: string) => fake.events.filter((event) => event.stream === stream)

  const store = (stream: string, event: Pick<StoredEvent, 'id' | 'type' | 'data'> & {metadata?: Uint8Array}) => {
    const position = (fake.events.at(-1)?.position ?? 0n) + RECORD_BYTES
    const revision = (fake.events.findLast((one) => one.stream === stream)?.revision ?? -1) + 1
    const stored = {metadata: Buffer.from('{}'), ...event, stream, revision, position}
    fake.events.push(stored)
    for (const [call, subscription] of fake.subscriptions) {
      if (!subscription.live || subscription.filter?.test(stream) === false) continue
      subscription.waiting.push(stored)
      if (subscription.waiting.length > LIVE_BUFFER) drop(call)
      else hand(call)
    }
  }

  const append = (
    call: ServerReadableStream<AppendReq, AppendResp>,
    reply: (error: unknown, answer?: AppendResp) => void,
  ) => {
    const requests: AppendReq[] = []
    call.on('error', () => {})
    call.on('data', (request: AppendReq) => requests.push(request))
    call.on('end', async () => {
      fake.appends++
      try {
        reply(null, await fake.answerAppend(() => honestAppend(requests)))
      } catch (error) {
        reply(error)
      }
    })
  }

  const honestAppend = ([header, ...proposed]: AppendReq[]): AppendResp => {
    const options = header!.getOptions()!
    const stream = nameOf(options.getStreamIdentifier())
    const expected = options.hasNoStream() ? -1 : Number(options.getRevision())
    const given = proposed.map((request) => request.getProposedMessage()!)
    const present = ofStream(stream)
    const ids = given.map((event) => event.getId()!.getString())
    const isRepeat = present.length - 1 > expected && ids.every((id, n) => present[expected + 1 + n]?.id === id)
    if (!isRepeat && present.length - 1 !== expected) {
      const wrong = new messages.AppendResp.WrongExpectedVersion()
      return new messages.AppendResp().setWrongExpectedVersion(wrong)
    }
    if (!isRepeat) {
      for (const event of given) {
        store(stream, {
          id: event.getId()!.getString(),
          type: event.getMetadataMap().get('type')!,
          data: event.getData_asU8(),
          metadata: event.getCustomMetadata_asU8(),
        })
      }
    }
    const last = ofStream(stream)[expected + given.length]!
    const position = new messages.AppendResp.Position()
      .setCommitPosition(String(last.position))
      .setPreparePosition(String(last.position))
    return new messages.AppendResp().setSuccess(
      new messages.AppendResp.Success().setCurrentRevision(String(last.revision)).setPosition(position),
    )
  }

  const read = async (call: Call) => {
    call.on('error', () => {})
    const reading = readingOf(call.request)
    try {
      if (!(await fake.answerRead(reading, call))) return
      if (reading.kind === 'subscription') return await subscribe(call, reading)
      for (const event of selected(reading)) call.write(answerWith(event))
      if (reading.kind === 'stream') {
        const last = ofStream(reading.stream).at(-1)
        call.write(
          last
            ? new messages.ReadResp().setLastStreamPosition(String(last.revision))
            : new messages.ReadResp().setStreamNotFound(new messages.ReadResp.StreamNotFound()),
        )
      }
      call.end()
    } catch (error) {
      call.emit('error', error)
    }
  }

  const selected = ({kind, stream, from, backwards, count, filter}: Reading): StoredEvent[] => {
    const place = (event: StoredEvent) => (kind === 'stream' ? BigInt(event.revision) : event.position)
    const candidates = kind === 'stream' ? ofStream(stream) : fake.events
    const isWanted = (event: StoredEvent) => filter?.test(event.stream) ?? true
    const head = fake.events.at(-1)?.position ?? 0n
    if (
      kind === 'all' &&
      typeof from === 'bigint' &&
      from < head &&
      !candidates.some((event) => place(event) === from)
    ) {
      throw failure(status.UNKNOWN, 'Unexpected ReadAllResult: Error')
    }
    const chosen = candidates.filter(isWanted).filter((event) => {
      if (typeof from !== 'bigint') return from === (backwards ? 'end' : 'start')
      if (!backwards) return place(event) >= from
      return kind === 'stream' ? place(event) <= from : place(event) < from
    })
    return (backwards ? chosen.reverse() : chosen).slice(0, count)
  }

  const subscribe = async (call: Call, {from, filter}: Reading) => {
    const subscription = {events: 0, waiting: [] as StoredEvent[], live: false, filter}
    fake.subscriptions.set(call, subscription)
    call.on('cancelled', () => fake.subscriptions.delete(call))
    call.on('drain', () => {
      if (subscription.live) hand(call)
    })
    const after = typeof from === 'bigint' ? from : -1n
    call.write(new messages.ReadResp().setConfirmation(new messages.ReadResp.SubscriptionConfirmation()))
    const first = fake.events.findIndex(({position}) => position > after)
    for (let n = first; n >= 0 && n < fake.events.length && fake.subscriptions.has(call); n++) {
      const next = fake.events[n]!
      if (filter && !filter.test(next.stream)) continue
      subscription.events++
      if (!call.write(answerWith(next))) await new Promise((resolve) => call.once('drain', resolve))
    }
    subscription.live = true
  }

  /** Hands over what the reader has room for. */
  const hand = (call: Call) => {
    const subscription = fake.subscriptions.get(call)
    while (subscription && subscription.waiting.length > 0 && !call.writableNeedDrain) {
      subscription.events++
      call.write(answerWith(subscription.waiting.shift()!))
    }
  }

  const drop = (call: Call) => {
    fake.subscriptions.delete(call)
    call.emit('error', failure(status.ABORTED, 'Operation timed out: Consumer too slow to handle event while live.'))
  }

  await fake.revive()
  return fake
}

/** An error as a gRPC server sends it, with what EventStoreDB adds in metadata. */
export const failure = (code: status, details: string, added: Record<string, string> = {}) => {
  const metadata = new Metadata()
  for (const [key, value] of Object.entries(added)) metadata.set(key, value)
  return Object.assign(new Error(details), {code, details, metadata})
}

export const answerWith = (event: StoredEvent): ReadResp => {
  const recorded = new messages.ReadResp.ReadEvent.RecordedEvent()
    .setId(new shared.UUID().setString(event.id))
    .setStreamIdentifier(new shared.StreamIdentifier().setStreamName(Buffer.from(event.stream)))
    .setStreamRevision(String(event.revision))
    .setCommitPosition(String(event.position))
    .setPreparePosition(String(event.position))
    .setData(event.data)
    .setCustomMetadata(event.metadata)
  recorded.getMetadataMap().set('type', event.type).set('content-type', 'application/json')
  return new messages.ReadResp().setEvent(new messages.ReadResp.ReadEvent().setEvent(recorded))
}

const nameOf = (identifier: shared.StreamIdentifier | undefined) =>
  Buffer.from(identifier?.getStreamName_asU8() ?? []).toString()

const readingOf = (request: ReadReq): Reading => {
  const options = request.getOptions()!
  const stream = options.getStream()
  const all = options.getAll()
  const position = all?.getPosition()?.getCommitPosition()
  const pattern = options.getFilter()?.getStreamIdentifier()?.getRegex()
  const from = stream
    ? stream.hasEnd()
      ? 'end'
      : BigInt(stream.getRevision())
    : position
      ? BigInt(position)
      : all?.hasEnd()
        ? 'end'
        : 'start'
  return {
    kind: options.hasSubscription() ? 'subscription' : stream ? 'stream' : 'all',
    stream: nameOf(stream?.getStreamIdentifier()),
    from,
    backwards: options.getReadDirection() === 1,
    count: options.hasSubscription() ? Number.POSITIVE_INFINITY : Number(options.getCount()),
    filter: pattern === undefined ? null : new RegExp(pattern),
  }
}
