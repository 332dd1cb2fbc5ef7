import type {Pool} from 'pg'
import type {Logger} from 'pino'
import type {Erasure} from '../commands/eraseUser.ts'
import type {Execute} from '../commands/execute.ts'
import type {SendLink} from '../commands/registerUser.ts'
import type {FindMarked} from '../commands/sendMessage.ts'
import type {Config} from '../config.ts'
import type {UserId} from '../domain/user.ts'
import type {KeyStore} from '../keys/keyStore.ts'
import type {Codec} from '../log/codec.ts'
import type {EventLog} from '../log/eventLog.ts'
import type {Tail} from '../log/tail.ts'
import type {Metrics} from '../metrics/metrics.ts'
import type {Applied} from '../projections/applied.ts'
import type {BeganAt} from '../streams/beganAt.ts'
import type {Uploads} from '../uploads/uploads.ts'
import type {UploadUrls} from '../uploads/uploadUrls.ts'
import type {Limits} from './limits.ts'
import type {People} from './people.ts'
import type {Presence} from './presence.ts'
import type {ReadMarks} from './readMarks.ts'
import type {Refusals} from './refusals.ts'
import type {Sessions} from './sessions.ts'
import type {DocumentedEvent} from './socketEvent.ts'

/** What the routes work with; the composition root makes it. */
export type Parts = {
  config: Config
  pool: Pool
  log: EventLog
  codec: Codec
  tail: Tail
  applied: Applied
  execute: Execute
  findMarked: FindMarked
  beganAt: BeganAt
  erasure: Erasure
  keys: KeyStore
  mail: SendLink
  resetMail: SendLink
  sessions: Sessions
  people: People
  readMarks: ReadMarks
  presence: Presence
  limits: Limits
  refusals: Refusals
  /** null: not configured. */
  uploads: Uploads | null
  uploadUrls: UploadUrls
  /** The newest position that this node has acknowledged or shown to the person over a socket. */
  shownTo: (userId: UserId) => bigint | null
  /** Every socket event, for the documentation. */
  socketEvents: readonly DocumentedEvent[]
  metrics: Metrics
  logger: Logger
}
