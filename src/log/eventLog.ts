/** A value that survives JSON and back: no NUL, no lone surrogate, no number that is not a safe integer or a finite double. */
export type Json = null | boolean | number | string | Json[] | {[key: string]: Json}
export type JsonObject = {[key: string]: Json}

/** An event as it is appended: the bytes of the log, after the codec. `id` is a UUID. */
export type NewRecord = {id: string; type: string; data: JsonObject; metadata: JsonObject}

/**
 * An event as the log holds it. `revision` counts from 0 in its stream; `position` is global and grows with commit
 * order; it is what a checkpoint stores. Neither need be dense.
 */
export type LogRecord = NewRecord & {stream: string; revision: number; position: bigint}

/** `none`: the stream does not exist; else the revision of its last event. There is no "any": it could double an event. */
export type ExpectedRevision = 'none' | number

/**
 * `conflict`: the stream is elsewhere than expected, nothing was written. `tooLarge`: the data and metadata of all the
 * append's events together are more than {@link MAX_EVENT_BYTES} of JSON, nothing was written.
 */
export type AppendResult =
  | {ok: true; revision: number; position: bigint}
  | {ok: false; reason: 'conflict'}
  | {ok: false; reason: 'tooLarge'}

/**
 * EventStoreDB 23.10 accepts 1,048,576 bytes of data in one append, however many its events, and not one more (measured;
 * metadata it does not count, which looks like a mistake of its own); both adapters refuse alike.
 */
export const MAX_EVENT_BYTES = 1_048_576

/** The log can't be reached, or did not answer in time. An append that ends so may or may not have been stored. */
export class LogUnavailable extends Error {
  override name = 'LogUnavailable'
}

/**
 * The port to the log. Both adapters keep the same contract (test/contract/eventLog.ts):
 * - `append` writes all events or none. The same ids appended again at the same expected revision answer as the first
 *   time, also after later events. It settles within {@link LogOptions.timeoutMs}: with a verdict, or by LogUnavailable;
 *   after LogUnavailable the caller appends the same ids, events and revision again until it has a verdict.
 * - `readStream` of a stream that does not exist yields nothing. `from` is inclusive.
 * - `readAll` yields events after `after` (exclusive; null is the beginning), in commit order, in pages.
 * - `subscribe` yields pages for ever: first what is there, then what comes. It reconnects by itself and resumes after the
 *   last event that it yielded and whose page the consumer finished (asked for the next); never skips, repeats or reorders.
 *   What the consumer has not asked for yet is bounded. It ends only by the signal, or by {@link HistoryChanged}.
 */
export type EventLog = {
  readonly adapter: 'postgres' | 'eventstoredb'
  append(stream: string, events: NewRecord[], expected: ExpectedRevision): Promise<AppendResult>
  readStream(
    stream: string,
    options?: {from?: number | 'end'; backwards?: boolean; limit?: number},
  ): AsyncIterable<LogRecord>
  readAll(options?: {after?: bigint | null; limit?: number}): AsyncIterable<LogRecord[]>
  subscribe(options: {after: bigint | null; signal: AbortSignal}): AsyncIterable<LogRecord[]>
  /** The event exactly at this position, or null: what a checkpoint is compared with. */
  readAt(position: bigint): Promise<LogRecord | null>
  /** The position of the newest event, or null for an empty log. Asks the leader. */
  head(): Promise<bigint | null>
  close(): Promise<void>
}

/** What a subscription that resumed found at its position is not the event that it had read there: another history. */
export class HistoryChanged extends Error {
  override name = 'HistoryChanged'
}

export type LogOptions = {
  /** How long one append or one read of a page may take, or fail again and again, before LogUnavailable. Default 5,000. */
  timeoutMs?: number
  /** Told about what mends itself: reconnects, retries. */
  onTrouble?: (what: string, error: unknown) => void
}
