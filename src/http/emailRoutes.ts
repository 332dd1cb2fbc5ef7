import {z} from 'zod'
import {logIn, signIn} from '../commands/logIn.ts'
import {registerUser} from '../commands/registerUser.ts'
import {requestPasswordReset} from '../commands/requestPasswordReset.ts'
import {resendVerification} from '../commands/resendVerification.ts'
import {resetPassword} from '../commands/resetPassword.ts'
import {verifyEmail} from '../commands/verifyEmail.ts'
import {isRefusal} from '../domain/event.ts'
import type {IdentityHash} from '../domain/identity.ts'
import {storable} from '../domain/text.ts'
import {isSomebody, Password, Username} from '../domain/user.ts'
import {ApiError, refused} from '../edge/errors.ts'
import {clientNetwork} from '../edge/limits.ts'
import type {Parts} from '../edge/parts.ts'
import {Ok} from '../edge/shapes.ts'
import {newUsername} from '../keys/ids.ts'
import {comparePassword, hashPassword} from '../keys/password.ts'
import {parseToken} from '../keys/token.ts'
import {normaliseAddress} from '../mail/address.ts'
import {findOpenAttempts, users} from '../projections/users.ts'
import {userFold, userStream} from '../streams/streams.ts'
import {type Route, route} from './route.ts'

const Address = z
  .string()
  .transform((value, context) => {
    const address = normaliseAddress(value)
    if (address !== null) return address
    context.addIssue({code: 'custom', message: 'must be an email address'})
    return z.NEVER
  })
  .meta({json: {type: 'string', format: 'email'}})
const Message = Ok.extend({message: z.string()})
const Redirect = Ok.extend({redirect: z.string()})
const HOME = '/posts/?login=ok'

export const emailRoutes = ({
  pool,
  execute,
  keys,
  mail,
  resetMail,
  sessions,
  limits,
  refusals,
  config,
  log,
  applied,
}: Parts): Route[] => {
  /** Attempts are looked up in the table, so it must first hold what the log holds now. */
  const openAttempts = async (identity: IdentityHash) => {
    const head = await log.head()
    if (head !== null && !(await applied.reached([users], head, 2_000))) throw new ApiError('BEHIND')
    return findOpenAttempts(pool, identity)
  }

  return [
    route({
      operationId: 'registerUser',
      method: 'post',
      path: '/api/email/register',
      summary: 'Registers an email address and mails a link to it',
      description:
        'Whoever takes the link from the mail confirms the address, and is signed in. An address that nobody has confirmed may be registered again; what counts is the attempt whose link is used. Counts against the limit of mails by IP, with `resendVerification` and `requestPasswordReset`. Without a username one is made up.',
      auth: 'session',
      body: z.object({email: Address, password: Password, username: Username.optional()}),
      answer: Message,
      errors: ['EMAIL_TAKEN', 'RATE_LIMITED'],
      tables: [users],
      handle: async ({body: {email, password, username}, req, requestId}) => {
        await limits.mails(clientNetwork(req.ip ?? ''))
        const passwordHash = await hashPassword(password, config.bcryptCost)
        const registered = await registerUser(
          {execute, keys, mail},
          {email, passwordHash, username: username ?? newUsername()},
          {actor: null, correlationId: requestId},
        )
        if (isRefusal(registered)) throw refused(registered)
        sessions.noteAttempt(req, registered.userId)
        return {
          body: {ok: true, message: 'Please check your email and open the link in it to confirm your address.'},
          position: registered.position,
        }
      },
    }),
    route({
      operationId: 'verifyEmail',
      method: 'get',
      path: '/api/email/verify',
      summary: 'The link in the mail: confirms the address and signs in',
      description:
        'Leads to `/posts/?login=ok`, or to `/?login=failed&reason=used`, `invalid` or `expired`. A token is good for 24 hours and one use; HEAD does not use it.',
      auth: 'session',
      query: z.object({token: z.string().catch('')}),
      answer: 'redirect',
      tables: [users],
      unsafe: true,
      handle: async ({query, req, requestId}) => {
        const token = parseToken(query.token)
        if (!token) return {redirect: '/?login=failed&reason=invalid'}
        const context = {correlationId: requestId}
        const verified = await verifyEmail(
          {execute},
          {userId: token.userId, tokenHash: token.hash, now: new Date()},
          context,
        )
        if (isRefusal(verified)) {
          refusals.signInFailed(
            {userId: token.userId, by: 'verification', refused: verified.refused},
            {...context, name: 'verifyEmail'},
          )
          const reason = verified.refused === 'TOKEN_INVALID' ? verified.reason : 'invalid'
          return {redirect: `/?login=failed&reason=${reason}`}
        }
        const {position} = await signIn(execute, token.userId, 'verification', {
          ...context,
          name: 'verifyEmail',
          causationId: verified.eventId,
        })
        await sessions.signIn(req, token.userId)
        return {redirect: HOME, position}
      },
    }),
    route({
      operationId: 'resendVerification',
      method: 'post',
      path: '/api/email/resend-verification',
      summary: 'Mails the link again',
      description:
        'The answer is the same whether or not the address is known. Counts against the limit of mails by IP.',
      auth: 'session',
      body: z.object({email: Address}),
      answer: Message,
      errors: ['RATE_LIMITED', 'BEHIND'],
      tables: [users],
      handle: async ({body: {email}, req, requestId}) => {
        await limits.mails(clientNetwork(req.ip ?? ''))
        await resendVerification(
          {execute, keys, mail, openAttempts, newUsername},
          {email, attempts: req.session.attempts ?? []},
          {actor: null, correlationId: requestId},
        )
        // Whether there was anything to send again is nobody's business, so the answer bears no position either.
        return {body: {ok: true, message: 'Verification email sent again. Please check your email.'}}
      },
    }),
    route({
      operationId: 'requestPasswordReset',
      method: 'post',
      path: '/api/email/forgot',
      summary: 'Mails a link that sets a new password',
      description:
        'The link leads to `/?reset=<token>`. The answer is the same whether or not the address is known. Counts against the limit of mails by IP.',
      auth: 'session',
      body: z.object({email: Address}),
      answer: Message,
      errors: ['RATE_LIMITED', 'BEHIND'],
      tables: [users],
      handle: async ({body: {email}, req, requestId}) => {
        await limits.mails(clientNetwork(req.ip ?? ''))
        await requestPasswordReset(
          {execute, keys, resetMail, openAttempts, newUsername},
          {email, attempts: req.session.attempts ?? []},
          {actor: null, correlationId: requestId},
        )
        return {
          body: {
            ok: true,
            message: 'If this address is registered, a mail with a link to choose a new password is on its way.',
          },
        }
      },
    }),
    route({
      operationId: 'resetPassword',
      method: 'post',
      path: '/api/email/reset',
      summary: 'Sets a new password with the token of the mail, and signs in',
      description: 'Ends all other sessions of the person. Counts as a login attempt.',
      auth: 'session',
      body: z.object({token: z.string().max(1_000), password: Password}),
      answer: Redirect,
      errors: ['TOKEN_INVALID', 'RATE_LIMITED'],
      tables: [users],
      handle: async ({body, req, requestId}) => {
        await limits.logins(`ip ${clientNetwork(req.ip ?? '')}`)
        const token = parseToken(body.token)
        if (!token) throw new ApiError('TOKEN_INVALID')
        const {state: user} = await execute.load(userStream(token.userId), userFold)
        if (isSomebody(user)) await limits.logins(`account ${user.identity}`)
        const context = {correlationId: requestId}
        const reset = await resetPassword(
          {
            execute,
            hashPassword: () => hashPassword(body.password, config.bcryptCost),
            endSessions: sessions.signOutEverywhere,
          },
          {userId: token.userId, tokenHash: token.hash, now: new Date()},
          context,
        )
        if (isRefusal(reset)) {
          const failed = {userId: token.userId, by: 'reset' as const, refused: reset.refused}
          refusals.signInFailed(failed, {...context, name: 'resetPassword'})
          throw refused(reset)
        }
        const {position} = await signIn(execute, token.userId, 'reset', {
          ...context,
          name: 'resetPassword',
          causationId: reset.eventId,
        })
        await sessions.signIn(req, token.userId)
        return {body: {ok: true, redirect: HOME}, position}
      },
    }),
    route({
      operationId: 'logIn',
      method: 'post',
      path: '/api/email/login',
      summary: 'Signs in with email address and password',
      description:
        'A wrong password and an unknown address are the same `WRONG_CREDENTIALS`. `NOT_VERIFIED` comes with `resend: true`. Attempts are limited by account and by IP.',
      auth: 'session',
      body: z.object({email: storable.max(1_000), password: storable.max(1_000)}),
      answer: Redirect,
      errors: ['WRONG_CREDENTIALS', 'NOT_VERIFIED', 'RATE_LIMITED', 'BEHIND'],
      tables: [users],
      handle: async ({body: {email, password}, req, requestId}) => {
        const address = normaliseAddress(email)
        await limits.logins(`ip ${clientNetwork(req.ip ?? '')}`)
        if (address !== null) await limits.logins(`account ${keys.identityHash('email', address)}`)
        const attempt = await logIn(
          {
            execute,
            keys,
            openAttempts,
            comparePassword: (given, hash) => comparePassword(given, hash, config.bcryptCost),
            onFailed: (userId, refused) =>
              refusals.signInFailed({userId, by: 'password', refused}, {name: 'logIn', correlationId: requestId}),
          },
          {email: address ?? '', password},
          {correlationId: requestId},
        )
        if (isRefusal(attempt)) {
          if (attempt.refused === 'NOT_VERIFIED') {
            sessions.noteAttempt(req, attempt.attempt!)
            throw new ApiError('NOT_VERIFIED', {resend: true})
          }
          throw refused(attempt)
        }
        await sessions.signIn(req, attempt.userId)
        return {body: {ok: true, redirect: HOME}, position: attempt.position}
      },
    }),
  ]
}
