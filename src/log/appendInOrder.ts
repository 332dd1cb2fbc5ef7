import type {EventLog, LogRecord, NewRecord} from './eventLog.ts'

/** What one append takes: both logs take 1 MiB, and a base64 of what is sealed was counted already. */
const APPEND_BYTES = 512 * 1024
const APPEND_EVENTS = 500

type Run = {stream: string; first: number; events: NewRecord[]; bytes: number}

/** The log to be written holds other events than the ones that are to come. */
export class NotTheSameLog extends Error {
  override name = 'NotTheSameLog'
}

/**
 * Appends records in exactly their order, with their ids and revisions; what is there already is passed over, so it can be
 * taken up where it was cut off. Neighbours of one stream are one append. Postgres commits appends of one turn in the order
 * in which they were made, so they can share a statement; EventStoreDB promises no such thing, there one waits for the other.
 */
export const appendInOrder = async (log: EventLog, records: readonly Omit<LogRecord, 'position'>[]): Promise<void> => {
  const runs: Run[] = []
  for (const {stream, revision, id, type, data, metadata} of records) {
    const event = {id, type, data, metadata}
    const bytes = JSON.stringify(data).length + JSON.stringify(metadata).length
    const last = runs.at(-1)
    const fits = last?.stream === stream && last.bytes + bytes <= APPEND_BYTES && last.events.length < APPEND_EVENTS
    if (fits) {
      last.events.push(event)
      last.bytes += bytes
    } else runs.push({stream, first: revision, events: [event], bytes})
  }
  const write = async ({stream, first, events}: Run) => {
    const result = await log.append(stream, events, first === 0 ? 'none' : first - 1)
    if (!result.ok) throw new NotTheSameLog(`${stream} at revision ${first} can not be appended: ${result.reason}`)
  }
  if (log.adapter === 'postgres') await Promise.all(runs.map(write))
  else for (const run of runs) await write(run)
}
