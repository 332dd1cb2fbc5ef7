import {randomUUID} from 'node:crypto'
import {type Decision, isRefusal} from '../domain/event.ts'
import type {IdentityHash} from '../domain/identity.ts'
import {
  decideRegister,
  decideRequestReset,
  evolveUser,
  isSomebody,
  type User,
  type UserEvent,
  type UserId,
} from '../domain/user.ts'
import {newUserId} from '../keys/ids.ts'
import type {KeyStore} from '../keys/keyStore.ts'
import {tokenFor} from '../keys/token.ts'
import {identityFold, identityStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'
import type {SendLink} from './registerUser.ts'
import {attemptMeant} from './resendVerification.ts'

const RESET_HOURS = 24

/**
 * Mails a link that sets a new password. Where the address was registered but never verified, whoever reads its mail
 * wants an account and knows no password: the link makes one, by an attempt of its own, so that no other attempt's
 * password takes effect. It bears the name of the attempt that is meant. Nobody learns which of these it was.
 */
export const requestPasswordReset = async (
  deps: {
    execute: Execute
    keys: KeyStore
    resetMail: SendLink
    openAttempts: (identity: IdentityHash) => Promise<{userId: UserId}[]>
    newUsername: () => string
  },
  {email, attempts}: {email: string; attempts: readonly UserId[]},
  context: Omit<CommandContext, 'name'>,
): Promise<void> => {
  const {execute, keys, resetMail, newUsername} = deps
  const identity = keys.identityHash('email', email)
  const userOf = async (userId: UserId): Promise<User> =>
    (await execute.load(userStream(userId), userFold, {fresh: true})).state

  const {state: owner} = await execute.load(identityStream(identity), identityFold, {fresh: true})
  const meant = owner.kind === 'claimed' ? (owner.userId as UserId) : await attemptMeant(deps, identity, attempts)
  if (meant === null) return
  const user = meant === 'several' ? null : await userOf(meant)
  if (user && !isSomebody(user)) return
  const username = user?.username ?? newUsername()
  const askedAt = new Date()
  const expiresAt = new Date(askedAt.getTime() + RESET_HOURS * 3_600_000)
  const token = tokenFor(owner.kind === 'claimed' ? (owner.userId as UserId) : newUserId('email'), expiresAt)
  const {userId} = token

  const decide = (state: User): Decision<UserEvent> => {
    if (owner.kind === 'claimed') return decideRequestReset(state, token)
    const registered = decideRegister(state, {
      userId,
      provider: 'email',
      identity,
      email,
      username,
      passwordHash: null,
      tokenHash: null,
      tokenExpiresAt: token.expiresAt,
    })
    return [...registered, ...decideRequestReset(registered.reduce(evolveUser, state), token)]
  }

  const stream = userStream(userId)
  const eventId = randomUUID()
  await resetMail.enqueue({to: email, username, askedAt, token, awaits: {stream, eventId}})
  const requested = await execute.execute(stream, userFold, {...context, name: 'requestPasswordReset'}, decide, {
    firstEventId: eventId,
  })
  if (!isRefusal(requested) && requested.events.length > 0) await resetMail.release(eventId)
}
