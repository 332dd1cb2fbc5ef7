import type {StreamsClient} from '@eventstore/db-client/generated/streams_grpc_pb.js'
import type {AppendReq, AppendResp, ReadReq, ReadResp} from '@eventstore/db-client/generated/streams_pb.js'
import type {ExpectedRevision} from './eventLog.ts'

/** One event as it goes over the wire; `data` and `metadata` are JSON in UTF-8. */
export type WireEvent = {id: string; type: string; data: Uint8Array; metadata: Uint8Array}

/**
 * What to read. A position of $all is inclusive forwards, exclusive backwards, and exclusive for a subscription, which
 * yields the events of all streams that begin with the prefix and does not end.
 */
export type Reading =
  | {stream: string; from: number | 'end'; backwards: boolean; count: number}
  | {all: Position; backwards: boolean; count: number}
  | {all: Position; prefix: string}
type Position = 'start' | 'end' | bigint

/** The flow of answers of one reading: what `pause` holds back stays with the server. */
export type Flow = {pause(): void; resume(): void; cancel(): void}

/** Both reject with the client's or gRPC's error, whatever happened; `deadline` is a time in ms since 1970. */
export type Calls = {
  append(stream: string, events: WireEvent[], expected: ExpectedRevision, deadline: number): Promise<AppendResp>
  read(
    reading: Reading,
    deadline: number,
    heed: (answer: ReadResp, flow: Flow) => void,
    signal?: AbortSignal,
  ): Promise<void>
  close(): Promise<void>
}

/**
 * The parts that the client's own methods are made of: where to connect, as whom, and when to look for another node.
 * The methods themselves are not used. In 6.2.1 appendToStream ends the process by an unhandled rejection when it begins
 * in the turn in which another call's failure closes the channel, and never answers a reply that it does not know; reads
 * have no deadline and throw out of an event handler at a record that they do not understand.
 */
type ClientParts = {
  execute<T>(service: typeof StreamsClient, name: string, call: (streams: StreamsClient) => Promise<T>): Promise<T>
  callArguments(
    base: {requiresLeader: boolean},
    options: {deadline: number},
  ): [NonNullable<Parameters<StreamsClient['read']>[1]>, {deadline: number}]
  getChannel(): Promise<{close(): void}>
}

/** Calls to an EventStoreDB through `@eventstore/db-client`, which is loaded here and not before. Does not connect yet. */
export const openCalls = async (url: string): Promise<Calls> => {
  const [{EventStoreDBClient}, {default: services}, {default: messages}, {default: shared}] = await Promise.all([
    import('@eventstore/db-client'),
    import('@eventstore/db-client/generated/streams_grpc_pb.js'),
    import('@eventstore/db-client/generated/streams_pb.js'),
    import('@eventstore/db-client/generated/shared_pb.js'),
  ])
  const client = EventStoreDBClient.connectionString(url) as unknown as ClientParts
  // Reads too: a follower may not have what we saw, and a node that is cut off from the others does not know that it is.
  const withDeadline = (deadline: number) => client.callArguments({requiresLeader: true}, {deadline})

  const empty = () => new shared.Empty()
  const streamNamed = (name: string) => new shared.StreamIdentifier().setStreamName(Buffer.from(name))

  const appendHeader = (stream: string, expected: ExpectedRevision): AppendReq => {
    const options = new messages.AppendReq.Options().setStreamIdentifier(streamNamed(stream))
    if (expected === 'none') options.setNoStream(empty())
    else options.setRevision(String(expected))
    return new messages.AppendReq().setOptions(options)
  }

  const proposed = ({id, type, data, metadata}: WireEvent): AppendReq => {
    const message = new messages.AppendReq.ProposedMessage()
      .setId(new shared.UUID().setString(id))
      .setData(data)
      .setCustomMetadata(metadata)
    message.getMetadataMap().set('type', type).set('content-type', 'application/json')
    return new messages.AppendReq().setProposedMessage(message)
  }

  const allFrom = (from: Position) => {
    const options = new messages.ReadReq.Options.AllOptions()
    if (from === 'start') return options.setStart(empty())
    if (from === 'end') return options.setEnd(empty())
    const position = new messages.ReadReq.Options.Position()
    return options.setPosition(position.setCommitPosition(String(from)).setPreparePosition(String(from)))
  }

  const streamFrom = (name: string, from: number | 'end') => {
    const options = new messages.ReadReq.Options.StreamOptions().setStreamIdentifier(streamNamed(name))
    return from === 'end' ? options.setEnd(empty()) : options.setRevision(String(from))
  }

  const streamsWith = (prefix: string) =>
    new messages.ReadReq.Options.FilterOptions()
      .setStreamIdentifier(new messages.ReadReq.Options.FilterOptions.Expression().setPrefixList([prefix]))
      .setMax(1_000)
      .setCheckpointintervalmultiplier(1_000)

  const readRequest = (reading: Reading): ReadReq => {
    const options = new messages.ReadReq.Options()
      .setUuidOption(new messages.ReadReq.Options.UUIDOption().setString(empty()))
      // 1: a stream's answers end with its last revision, so that a reading cut short can be told from a whole one.
      .setControlOption(new messages.ReadReq.Options.ControlOption().setCompatibility(1))
    if ('stream' in reading) options.setStream(streamFrom(reading.stream, reading.from))
    else options.setAll(allFrom(reading.all))
    if ('prefix' in reading) {
      options.setSubscription(new messages.ReadReq.Options.SubscriptionOptions()).setFilter(streamsWith(reading.prefix))
    } else {
      options
        .setCount(String(reading.count))
        .setReadDirection(reading.backwards ? 1 : 0)
        .setNoFilter(empty())
    }
    return new messages.ReadReq().setOptions(options)
  }

  return {
    append: (stream, events, expected, deadline) =>
      client.execute(
        services.StreamsClient,
        'append',
        (streams) =>
          new Promise((resolve, reject) => {
            const call = streams.append(...withDeadline(deadline), (error, answer) => {
              if (error) reject(elsewhere(error))
              else resolve(answer)
            })
            call.on('error', reject)
            call.write(appendHeader(stream, expected))
            for (const event of events) call.write(proposed(event))
            call.end()
          }),
      ),

    read: (reading, deadline, heed, signal) =>
      client.execute(
        services.StreamsClient,
        'read',
        (streams) =>
          new Promise((resolve, reject) => {
            signal?.throwIfAborted()
            const call = streams.read(readRequest(reading), ...withDeadline(deadline))
            const cancel = () => call.cancel()
            const done = (error?: Error) => {
              signal?.removeEventListener('abort', cancel)
              if (error) reject(elsewhere(error))
              else resolve()
            }
            signal?.addEventListener('abort', cancel, {once: true})
            call.on('end', done)
            call.on('error', done)
            call.on('data', (answer: ReadResp) => {
              try {
                heed(answer, call)
              } catch (error) {
                reject(error)
                call.cancel()
              }
            })
          }),
      ),

    close: async () => (await client.getChannel()).close(),
  }
}

const DEADLINE_EXCEEDED = 4
const UNAVAILABLE = 14

/** The client looks for another node only after UNAVAILABLE; a node that is silent, or that knows of no leader, is as useless. */
const elsewhere = (error: Error & {code?: unknown}): Error =>
  error.code === DEADLINE_EXCEEDED || error.message.includes('No leader info')
    ? Object.assign(error, {code: UNAVAILABLE})
    : error
