import type {StreamsClient} from '@eventstore/db-client/generated/streams_grpc_pb.js'
import type {AppendReq, AppendResp, ReadReq} from '@eventstore/db-client/generated/streams_pb.js'
import type {ExpectedRevision} from './eventLog.ts'
import {type Answer, answerIn} from './eventStoreDbAnswer.ts'

/** One event as it is appended; `data` and `metadata` are JSON in UTF-8. */
export type ProposedEvent = {id: string; type: string; data: Uint8Array; metadata: Uint8Array}

/**
 * What to read: a stream; $all, whole or only the streams that begin with a prefix; or a subscription to such streams. A
 * position of $all is inclusive forwards, exclusive backwards, and exclusive for a subscription, which does not end.
 */
export type Reading =
  | {stream: string; from: number | 'end'; backwards: boolean; count: number}
  | {all: Position; prefix: string | null; backwards: boolean; count: number}
  | {all: Position; prefix: string}
type Position = 'start' | 'end' | bigint

/** The flow of answers of one reading. */
export type Flow = {
  /** What it holds back stays with the server. */
  pause(): void
  resume(): void
  cancel(): void
  /** False once the client has gone to another node, or to the same one anew, for what it is asked next. */
  isCurrent(): Promise<boolean>
}

/**
 * `deadline` is a time in ms since 1970. A call that fails for whatever reason rejects; {@link errorName} may name it. A reading
 * is heeded from its beginning, before any answer; where `heed` throws, it hears no more and the call rejects by that.
 */
export type Calls = {
  append(stream: string, events: ProposedEvent[], expected: ExpectedRevision, deadline: number): Promise<AppendResp>
  read(
    reading: Reading,
    deadline: number,
    heed: (answer: Answer | 'begun', flow: Flow) => void,
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
  getChannel(): Promise<Channel>
  createChannel(): Promise<Channel & {internalChannel?: {getOptions?(): {[option: string]: unknown}}}>
  readonly capabilities: Promise<{serverVersion: string}>
}
type Channel = ReturnType<StreamsClient['getChannel']>

/** Bytes that a server may send ahead of who reads. With gRPC's 64 KiB it takes twice the work to read a log. */
const WINDOW_BYTES = 1024 * 1024

/** Calls to an EventStoreDB through `@eventstore/db-client`, which is loaded here and not before. Does not connect yet. */
export const openCalls = async (url: string): Promise<Calls> => {
  const [{EventStoreDBClient}, {default: services}, {default: messages}, {default: shared}] = await Promise.all([
    import('@eventstore/db-client'),
    import('@eventstore/db-client/generated/streams_grpc_pb.js'),
    import('@eventstore/db-client/generated/streams_pb.js'),
    import('@eventstore/db-client/generated/shared_pb.js'),
  ])
  const client = EventStoreDBClient.connectionString(url) as unknown as ClientParts
  const createChannel = client.createChannel
  // A channel looks at its options when it connects. The client has no way to set this one.
  client.createChannel = async () => {
    const channel = await createChannel()
    const options = channel.internalChannel?.getOptions?.()
    if (options) options['grpc-node.flow_control_window'] = WINDOW_BYTES
    return channel
  }
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

  const proposed = ({id, type, data, metadata}: ProposedEvent): AppendReq => {
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

  // Not as a list of prefixes: 23.10 compares those by the rules of a language, skips `p.\u0301x` and takes `p\u00ad.x`.
  const streamsWith = (prefix: string) =>
    new messages.ReadReq.Options.FilterOptions()
      .setStreamIdentifier(new messages.ReadReq.Options.FilterOptions.Expression().setRegex(`^${escaped(prefix)}`))
      .setMax(1_000)
      .setCheckpointintervalmultiplier(1_000)

  const readRequest = (reading: Reading): ReadReq => {
    const options = new messages.ReadReq.Options()
      .setUuidOption(new messages.ReadReq.Options.UUIDOption().setString(empty()))
      // 1: a stream's answers end with its last revision, so that a reading cut short can be told from a whole one.
      .setControlOption(new messages.ReadReq.Options.ControlOption().setCompatibility(1))
    if ('stream' in reading) options.setStream(streamFrom(reading.stream, reading.from))
    else options.setAll(allFrom(reading.all))
    if ('prefix' in reading && reading.prefix !== null) options.setFilter(streamsWith(reading.prefix))
    else options.setNoFilter(empty())
    if ('count' in reading) options.setCount(String(reading.count)).setReadDirection(reading.backwards ? 1 : 0)
    else options.setSubscription(new messages.ReadReq.Options.SubscriptionOptions())
    return new messages.ReadReq().setOptions(options)
  }

  const execute = <T>(
    name: string,
    call: (streams: StreamsClient, resolve: (value: T) => void, reject: (error: unknown) => void) => void,
  ): Promise<T> =>
    client.execute(services.StreamsClient, name, (streams) =>
      new Promise<T>((resolve, reject) => call(streams, resolve, reject)).catch((error) => {
        throw told(error)
      }),
    )

  return {
    append: (stream, events, expected, deadline) =>
      execute('append', (streams, resolve, reject) => {
        const call = streams.append(...withDeadline(deadline), (error, answer) => {
          if (error) reject(error)
          else resolve(answer)
        })
        call.on('error', reject)
        call.write(appendHeader(stream, expected))
        for (const event of events) call.write(proposed(event))
        call.end()
      }),

    read: (reading, deadline, heed, signal) =>
      execute('read', (streams, resolve, reject) => {
        signal?.throwIfAborted()
        const call = streams.makeServerStreamRequest(
          services.StreamsService.read.path,
          (request: ReadReq) => Buffer.from(request.serializeBinary()),
          (message) => message,
          readRequest(reading),
          ...withDeadline(deadline),
        )
        const flow: Flow = {
          pause: () => call.pause(),
          resume: () => call.resume(),
          cancel: () => call.cancel(),
          isCurrent: async () => streams.getChannel() === (await client.getChannel()),
        }
        signal?.addEventListener('abort', flow.cancel, {once: true})
        call.on('end', resolve)
        call.on('error', reject)
        let isHeeded = true
        const tell = (answer: () => Answer | 'begun') => {
          // What had arrived already still comes after a call was cancelled.
          if (!isHeeded) return
          try {
            heed(answer(), flow)
          } catch (error) {
            isHeeded = false
            reject(error)
            flow.cancel()
          }
        }
        call.on('data', (message: Buffer) => tell(() => answerIn(message)))
        tell(() => 'begun')
      }),

    close: async () => (await client.getChannel()).close(),
  }
}

/** The release of the node that the client is led to, such as 23.10.6. */
export const serverVersionOf = async (url: string): Promise<string> => {
  const {EventStoreDBClient} = await import('@eventstore/db-client')
  const client = EventStoreDBClient.connectionString(url) as unknown as ClientParts
  try {
    return (await client.capabilities).serverVersion
  } finally {
    void client.getChannel().then(
      (channel) => channel.close(),
      () => {},
    )
  }
}

/** As a pattern of .NET. */
const escaped = (text: string): string =>
  text.replace(/[^A-Za-z0-9]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

const CANCELLED = 1
const DEADLINE_EXCEEDED = 4
const UNAVAILABLE = 14

type GrpcError = Error & {code?: unknown; details?: unknown; metadata?: {get(key: string): unknown[]}}

/**
 * What the client is told of a failure: to follow a leader, to look for a node again, or nothing that it would act on. It
 * looks only after UNAVAILABLE, but a node that is silent, or that knows of no leader, is as useless; and it ends the
 * process by an unhandled rejection at an error that lacks the metadata it expects. The failure itself is the cause.
 */
const told = (error: GrpcError): Error => {
  const [host] = error.metadata?.get('leader-endpoint-host') ?? []
  const [port] = error.metadata?.get('leader-endpoint-port') ?? []
  if (errorName(error) === 'not-leader' && host && Number(port) > 0 && Number(port) < 65_536) return error
  const useless =
    error.code === UNAVAILABLE ||
    error.code === DEADLINE_EXCEEDED ||
    (error.code === CANCELLED && error.details !== 'Cancelled on client') ||
    error.message.includes('No leader info')
  const plain = new Error(error.message, {cause: error})
  return useless ? Object.assign(plain, {code: UNAVAILABLE, details: ''}) : plain
}

/** EventStoreDB's own name of an error that a call was rejected with, like `maximum-append-size-exceeded`. */
export const errorName = (error: unknown): string | undefined => {
  const {metadata, cause} = error as GrpcError
  return metadata ? metadata.get('exception')[0]?.toString() : cause ? errorName(cause) : undefined
}
