import {hash} from 'node:crypto'
import type {LogRecord} from '../log/eventLog.ts'
import {canonicalJson} from './canonicalJson.ts'
import type {Hash} from './merkleTree.ts'

/** What of an event is sealed: all but its position and the store's own time, which change with the store. */
export type SealedRecord = Omit<LogRecord, 'position'>

/**
 * SHA-256(0x00 ‖ canonical JSON), the leaf hash of RFC 6962. Data as stored, with what is sealed for people still sealed:
 * so it stays the same when a person's key is destroyed, and when the event is copied to another log.
 */
export const leafOf = ({stream, revision, id, type, data, metadata}: SealedRecord): Hash => {
  try {
    return hash('sha256', `\0${canonicalJson({stream, revision, id, type, data, metadata})}`, 'buffer')
  } catch (error) {
    throw new TypeError(`event ${id} (revision ${revision} of ${stream}) has no leaf: ${(error as Error).message}`)
  }
}

/** The same, of what may be anything: what has no canonical form is equal to nothing. */
export const leafOrNone = (record: SealedRecord): Hash => {
  try {
    return leafOf(record)
  } catch {
    return Buffer.alloc(32)
  }
}
