import passport, {type Strategy} from 'passport'
import {Username} from '../domain/user.ts'

const ANSWER_BYTES = 64 * 1024

/** What a provider's strategy makes of its answers: not looked at yet. */
export type Profile = {id?: unknown; email?: unknown; [field: string]: unknown}

/** Who somebody is at the provider. `username` is null where there is none that we can take, `email` where none is known. */
export type Account = {subject: string; username: string | null; email: string | null}

/** One way to sign in. */
export type OauthProvider = {
  /** The provider's page that asks the person. */
  authorizeUrl(state: string): Promise<string>
  /** Who came back with this code. Throws where the provider refuses it, is away, slow or broken, or makes no sense. */
  accountOf(code: string): Promise<Account>
}

/** How long the provider may take for all that one login asks of it. */
const PROVIDER_MS = 10_000

/**
 * Runs a passport strategy outside of a request: `state` is checked by the caller. All that it asks of the provider goes
 * through {@link ask}, because the `oauth` package knows neither a time limit nor a size limit, and an answer that is no
 * JSON, or a connection that is cut, throws where nobody catches it, or never comes back.
 */
export const openProvider = ({
  strategyFor,
  accountOf,
  userAgent,
  ms = PROVIDER_MS,
}: {
  strategyFor: (verify: (accessToken: string, refreshToken: string, profile: Profile, done: Done) => void) => Strategy
  accountOf: (profile: Profile) => Account
  userAgent: string
  ms?: number
}): OauthProvider => {
  const run = (query: object, options: object): Promise<{redirect: string} | {profile: Profile}> =>
    new Promise((resolve, reject) => {
      const signal = AbortSignal.timeout(ms)
      const strategy = strategyFor((_accessToken, _refreshToken, profile, done) => done(null, profile))
      // passport-oauth2 calls it protected and leaves it to strategies.
      const {_oauth2: client} = strategy as unknown as {_oauth2: {_request: Request}}
      client._request = (method, url, headers, body, _token, done) => {
        ask({method, url, headers: {...headers, 'User-Agent': userAgent}, body, signal})
          .then((answer) => done(null, answer), done)
          // What the strategy throws at an answer that makes no sense, too.
          .catch(reject)
      }
      const settle = (error: unknown, profile?: unknown) => {
        if (error || !profile) reject(error instanceof Error ? error : new Error('the provider did not say who it is'))
        else resolve({profile: profile as Profile})
      }
      let location = ''
      const response = {
        setHeader: (name: string, value: string) => {
          if (name === 'Location') location = value
        },
        end: () => resolve({redirect: location}),
      }
      passport.authenticate(strategy, {session: false, ...options}, settle)({query}, response, reject)
    })

  return {
    authorizeUrl: async (state) => {
      const outcome = await run({}, {state})
      if ('redirect' in outcome) return outcome.redirect
      throw new Error('the strategy did not redirect')
    },
    accountOf: async (code) => {
      const outcome = await run({code}, {})
      if ('profile' in outcome) return accountOf(outcome.profile)
      throw new Error('the strategy redirected')
    },
  }
}

type Done = (error: unknown, profile?: Profile) => void
type Request = (
  method: string,
  url: string,
  headers: Record<string, string>,
  body: string,
  token: string | null,
  done: (error: unknown, answer?: string) => void,
) => void

/** One request: an answer of at most {@link ANSWER_BYTES}, or an error. What a provider says of its error is not kept. */
const ask = async ({
  url,
  body,
  ...request
}: {
  method: string
  url: string
  headers: Record<string, string>
  body: string
  signal: AbortSignal
}): Promise<string> => {
  const response = await fetch(url, {...request, redirect: 'manual', ...(body ? {body} : {})})
  if (!response.ok) {
    await response.body?.cancel()
    throw new Error(`the provider answered with status ${response.status}`)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > ANSWER_BYTES) throw new Error('the provider said more than it has to say')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

/** A provider's name for somebody within our limits: cut, or null. */
export const usernameOf = (value: unknown): string | null => {
  if (typeof value !== 'string') return null
  const name = Username.safeParse([...value.slice(0, 1_000)].slice(0, 50).join(''))
  return name.success ? name.data : null
}
