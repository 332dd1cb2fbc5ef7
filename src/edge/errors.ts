import type {z} from 'zod'
import {Busy} from '../commands/execute.ts'
import type {Refusal} from '../domain/event.ts'
import {LogUnavailable} from '../log/eventLog.ts'
import {MailQueueFull} from '../mail/mailQueue.ts'
import {StorageUnavailable, TooManyImages} from '../uploads/file.ts'

/** Every code that an answer can bear, and what it says to a person. */
export const ERRORS = {
  INVALID: 'The request is not valid.',
  EMAIL_TAKEN: 'This email address is already registered. Sign in, or reset the password.',
  TOKEN_INVALID: 'This link was used already, is too old, or was never valid.',
  NO_FILE: 'The request holds no file in the field "file".',
  TYPE_NOT_ALLOWED: 'Files of this type are not allowed: jpg, png, gif, webp and pdf are.',
  POSITION_UNKNOWN: 'The log has not reached this position yet, or it is of another log.',
  SINCE_UNKNOWN: 'The room has no message with this seq yet.',
  NOT_SIGNED_IN: 'Please sign in first.',
  WRONG_CREDENTIALS: 'Email address or password is wrong.',
  NOT_VERIFIED: 'Please confirm your email address first: the link is in the mail.',
  NOT_INVITED: 'One joins this room by invitation only.',
  NOT_A_MEMBER: 'You are not in this room.',
  CROSS_SITE: 'Requests from this site are not allowed.',
  NOT_FOUND: 'There is nothing here.',
  ROOM_FULL: 'This room has as many members as a room can have.',
  TOO_MANY_INVITATIONS: 'This room has as many open invitations as a room can have.',
  TOO_LARGE: 'The request is larger than allowed.',
  NOT_JSON: 'The body must be JSON in UTF-8, with the content type application/json.',
  IDEMPOTENCY_KEY_REUSED: 'This Idempotency-Key was used for another request.',
  RATE_LIMITED: 'That was too often. Please wait.',
  INTERNAL: 'Something went wrong here. It was logged.',
  BUSY: 'The server is too busy right now. Please try again.',
  BEHIND: 'What you wrote is stored, and will be shown shortly. Please try again.',
  UNAVAILABLE: 'The server can not answer right now. Please try again shortly.',
  LOGIN_NOT_CONFIGURED: 'This way to sign in is not configured on this server.',
  UPLOAD_NOT_CONFIGURED: 'Uploads are not configured on this server.',
} as const satisfies Record<string, string>

export type Code = keyof typeof ERRORS

export type Issue = {path: string; message: string}

/** An answer that is an error, to be given as it is. `retryAfter` in seconds. */
export class ApiError extends Error {
  override name = 'ApiError'
  readonly code: Code
  readonly extra: {issues?: Issue[]; resend?: true}
  readonly retryAfter: number | null

  constructor(code: Code, extra: {issues?: Issue[]; resend?: true} = {}, retryAfter: number | null = null) {
    super(ERRORS[code])
    this.code = code
    this.extra = extra
    this.retryAfter = retryAfter
  }
}

const TYPES: {[expected: string]: string} = {
  string: 'text',
  object: 'an object',
  array: 'a list',
  number: 'a number',
  int: 'a whole number',
}

/** For `safeParse`: what is missing, of another type or out of bounds is told in a person's words instead of zod's. */
export const inWords: z.core.ParseContext<z.core.$ZodIssue> = {
  error: (issue) => {
    const unit = 'origin' in issue && issue.origin === 'string' ? ' characters' : ''
    if (issue.code === 'too_big') return `must ${unit ? 'have' : 'be'} at most ${issue.maximum}${unit}`
    if (issue.code === 'too_small') return `must ${unit ? 'have' : 'be'} at least ${issue.minimum}${unit}`
    if (issue.code !== 'invalid_type') return undefined
    return issue.input === undefined ? 'is required' : `must be ${TYPES[issue.expected] ?? issue.expected}`
  },
}

/** `name`: of the whole. */
export const invalid = (error: z.ZodError, name = ''): ApiError =>
  new ApiError('INVALID', {
    issues: error.issues.slice(0, 20).map(({path, message}) => ({path: path.join('.') || name, message})),
  })

export const refused = ({refused: code}: Refusal): ApiError => new ApiError(code)

/** The error object of API.md: the same over HTTP and in a socket's callback. */
export const errorBody = ({code, extra, message}: ApiError, requestId: string) => ({
  ok: false as const,
  error: extra.issues?.[0] ? `${message} ${sentence(extra.issues[0])}` : message,
  code,
  requestId,
  ...extra,
})

const sentence = ({path, message}: Issue): string =>
  path ? `"${path}" ${message}.` : `${message[0]!.toUpperCase()}${message.slice(1)}.`

/** A request that can't be taken apart at all: `message` is about the whole of it. */
export const unreadable = (message: string) => new ApiError('INVALID', {issues: [{path: '', message}]})

/** What a fault means to the client. Everything unexpected is INTERNAL and tells nothing. */
export const toApiError = (error: unknown): ApiError => {
  if (error instanceof ApiError) return error
  if (error instanceof Busy || error instanceof MailQueueFull || error instanceof TooManyImages)
    return new ApiError('BUSY')
  if (error instanceof LogUnavailable || error instanceof StorageUnavailable || isDatabaseAway(error))
    return new ApiError('UNAVAILABLE')
  const type = (error as {type?: unknown}).type
  if (type === 'entity.too.large' || type === 'parameters.too.many') return new ApiError('TOO_LARGE')
  if (type === 'entity.parse.failed' || type === 'request.size.invalid' || type === 'request.aborted') {
    return unreadable('the body is not valid JSON')
  }
  if (type === 'encoding.unsupported' || type === 'charset.unsupported') return new ApiError('NOT_JSON')
  const status = (error as {status?: unknown}).status
  if (typeof status === 'number' && status >= 400 && status < 500)
    return status === 404 ? new ApiError('NOT_FOUND') : unreadable('it can not be read')
  return new ApiError('INTERNAL')
}

/** PostgreSQL is down, starting, stopping, out of connections or disk, or did not answer in time (SQLSTATE, appendix A). */
const isDatabaseAway = (error: unknown): boolean => {
  const {code, message} = error as {code?: unknown; message?: unknown}
  if (typeof code === 'string') {
    if (/^(08|53|57|58|25006)/.test(code) || code === 'XX000') return true
    // A view is missing only until a first start, or a new version of its table, has made it.
    if (code === '42P01') return true
    if (['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOENT', 'ETIMEDOUT'].includes(code)) return true
  }
  return (
    typeof message === 'string' &&
    /Connection terminated|timeout exceeded when trying to connect|Query read timeout|not queryable|Client has encountered/.test(
      message,
    )
  )
}
