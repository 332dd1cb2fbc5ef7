import {z} from 'zod'
import {signInWithProvider} from '../commands/signInWithProvider.ts'
import {isRefusal} from '../domain/event.ts'
import {ApiError} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import type {OauthProvider} from '../oauth/provider.ts'
import {users} from '../projections/users.ts'
import {type Route, route} from './route.ts'

const failed = (reason: 'denied' | 'state' | 'provider') => ({redirect: `/?login=failed&reason=${reason}`})

const Callback = z.object({
  code: z.string().min(1).max(2_000).optional().catch(undefined),
  state: z.string().max(100).catch(''),
  error: z.string().optional().catch(''),
})

export const oauthRoutes = (parts: Parts): Route[] => {
  const {
    config: {discord, reddit, baseUrl},
  } = parts
  // Imported where they are wanted: most servers sign nobody in by them, and the packages cost memory.
  return [
    ...routesFor(parts, 'discord', {
      name: 'Discord',
      path: '/api',
      open: discord && (async () => (await import('../oauth/discord.ts')).openDiscord(discord, {baseUrl})),
    }),
    ...routesFor(parts, 'reddit', {
      name: 'Reddit',
      path: '/api/reddit',
      open: reddit && (async () => (await import('../oauth/reddit.ts')).openReddit(reddit, {baseUrl})),
    }),
  ]
}

/**
 * The way to a provider and back. A login that comes to nothing ends on a page that says so: `denied` by the person or
 * the provider, a `state` that is not this browser's own or was used, or a `provider` that is away or makes no sense.
 */
const routesFor = (
  {execute, keys, sessions, logger}: Parts,
  provider: 'discord' | 'reddit',
  {name, path, open}: {name: 'Discord' | 'Reddit'; path: string; open: (() => Promise<OauthProvider>) | null},
): Route[] => {
  const opened = async (): Promise<OauthProvider> => {
    if (!open) throw new ApiError('LOGIN_NOT_CONFIGURED')
    return open()
  }
  return [
    route({
      operationId: `logInWith${name}`,
      method: 'get',
      path: `${path}/login`,
      summary: `Begins a login with ${name}`,
      description: `Leads to ${name}, where the person agrees. HEAD does nothing.`,
      auth: 'session',
      answer: 'redirect',
      errors: ['LOGIN_NOT_CONFIGURED'],
      unsafe: true,
      handle: async ({req}) => {
        const {authorizeUrl} = await opened()
        return {redirect: await authorizeUrl(sessions.beginOauth(req, provider))}
      },
    }),
    route({
      operationId: `returnFrom${name}`,
      method: 'get',
      path: `${path}/callback`,
      summary: `Where ${name} sends the browser back to: signs in`,
      description:
        'Leads to `/?login=ok`, or to `/?login=failed&reason=denied`, `state` or `provider`. HEAD does nothing.',
      auth: 'session',
      query: Callback,
      answer: 'redirect',
      errors: ['LOGIN_NOT_CONFIGURED'],
      tables: [users],
      unsafe: true,
      handle: async ({query: {code, state, error}, req, requestId}) => {
        const {accountOf} = await opened()
        if (!(await sessions.endOauth(req, provider, state))) return failed('state')
        if (error !== undefined || code === undefined) {
          return failed(error === 'access_denied' ? 'denied' : 'provider')
        }
        const account = await accountOf(code).catch((fault: unknown) => {
          logger.warn({requestId, provider, error: String(fault)}, 'a login at a provider came to nothing')
          return null
        })
        if (!account) return failed('provider')
        const signedIn = await signInWithProvider({execute, keys}, {provider, ...account}, {correlationId: requestId})
        if (isRefusal(signedIn)) return failed('provider')
        await sessions.signIn(req, signedIn.userId)
        return {redirect: '/?login=ok', position: signedIn.position}
      },
    }),
  ]
}
