export type Issue = {path: string; message: string}

const UNREACHABLE = 'The server can not be reached. Check your connection, then try again.'
const STRANGE = 'The server gave an answer that makes no sense here. Please try again.'
const MAX_WAIT_S = 3
const ANSWER_MS = 30_000

/** Why something did not work, in words for a person. `code` is the server's, or OFFLINE where there was no answer. */
export class Failure extends Error {
  override name = 'Failure'
  readonly code: string
  readonly issues: Issue[]
  /** Seconds until it makes sense to try again. */
  readonly retryAfter: number | null
  readonly resend: boolean

  constructor(
    code: string,
    message: string,
    {issues = [] as Issue[], retryAfter = null as number | null, resend = false} = {},
  ) {
    super(message)
    this.code = code
    this.issues = issues
    this.retryAfter = retryAfter
    this.resend = resend
  }
}

export const failureFrom = (body: unknown, retryAfter: number | null = null): Failure => {
  const {code, error, issues, resend} = (body ?? {}) as Record<string, unknown>
  if (typeof code !== 'string' || typeof error !== 'string') return new Failure('STRANGE', STRANGE, {retryAfter})
  return new Failure(code, error, {
    issues: Array.isArray(issues) ? (issues as Issue[]) : [],
    retryAfter,
    resend: resend === true,
  })
}

export const toFailure = (error: unknown): Failure =>
  error instanceof Failure ? error : new Failure('OFFLINE', UNREACHABLE)

export const offline = (): Failure => new Failure('OFFLINE', UNREACHABLE)

type Options = {headers?: Record<string, string>; signal?: AbortSignal}
export type Answer<T> = {body: T; headers: Headers}

const listeners = new Set<() => void>()

/** Called whenever an answer says that the session is over. */
export const onSignedOut = (listener: () => void): void => void listeners.add(listener)

/** One request. A read that the server is only briefly not ready for is asked again. Throws Failure. */
export const ask = async <T>(
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
  {headers = {}, signal}: Options = {},
): Promise<Answer<T>> => {
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(path, {
      method,
      credentials: 'include',
      headers: {...(body === undefined ? {} : {'content-type': 'application/json'}), ...headers},
      ...(body === undefined ? {} : {body: JSON.stringify(body)}),
      signal: signal ?? AbortSignal.timeout(ANSWER_MS),
    }).catch(() => {
      throw offline()
    })
    const answer: unknown = await response.json().catch(() => null)
    if (response.ok && answer !== null) return {body: answer as T, headers: response.headers}
    const retryAfter = Number(response.headers.get('retry-after')) || null
    const passes = method === 'GET' && response.status === 503 && (retryAfter ?? 1) <= MAX_WAIT_S && attempt < 3
    if (!passes) {
      const failure = failureFrom(answer, retryAfter)
      if (failure.code === 'NOT_SIGNED_IN') for (const listener of listeners) listener()
      throw failure
    }
    await new Promise((resolve) => setTimeout(resolve, (retryAfter ?? 1) * 1000))
  }
}

/** Sent along with what must not happen twice when it is sent again. */
export const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('-')

/** The page after this one, of a Link header (RFC 8288). */
export const nextPage = (headers: Headers): string | null =>
  /<([^>]+)>;\s*rel="next"/.exec(headers.get('link') ?? '')?.[1] ?? null
