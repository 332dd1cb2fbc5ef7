import {z} from 'zod'
import {type Decision, type EventOf, eventType, refusal} from './event.ts'
import {IdentityHash} from './identity.ts'
import {text} from './text.ts'
import type {FileUploaded} from './upload.ts'

/** `email_`, `discord_` or `reddit_` and 128 random bits in base32, or `bot_<botId>`: it says nothing about the person. */
export const UserId = z.string().brand('UserId')
export type UserId = z.infer<typeof UserId>

export const Provider = z.enum(['discord', 'reddit', 'email'])
export type Provider = z.infer<typeof Provider>

export const Username = text({max: 50})

/** bcrypt reads 72 bytes and no more, so a longer password would be a shorter one in truth. */
export const Password = z
  .string()
  .refine((value) => [...value].length >= 6, 'must have at least 6 characters')
  .refine((value) => new TextEncoder().encode(value).length <= 72, 'must have at most 72 bytes')
  .refine((value) => !value.includes('\0') && value.isWellFormed(), 'must not contain NUL or half a surrogate pair')
  .meta({minLength: 6, maxLength: 72, description: 'At most 72 bytes in UTF-8.'})

/** Who acts: a signed-in person or a bot. `identity` is null for bots. */
export type Actor = {userId: UserId; username: string; isBot: boolean; identity: IdentityHash | null}

/**
 * One registration attempt, or a person who came by Discord or Reddit. It becomes a user when the attempt's identity is
 * claimed by it. `passwordHash` is bcrypt's; null: none was set. `tokenHash` is the SHA-256 of the mailed token, in hex.
 */
export const UserRegistered = eventType('UserRegistered', {
  data: z.object({
    userId: UserId,
    provider: Provider,
    identity: IdentityHash,
    email: z.string().nullable(),
    username: z.string(),
    passwordHash: z.string().nullable(),
    tokenHash: z.string().nullable(),
    tokenExpiresAt: z.iso.datetime().nullable(),
  }),
  personal: {userId: ['email', 'username', 'passwordHash']},
  plain: ['userId', 'provider', 'identity', 'tokenHash', 'tokenExpiresAt'],
})

/** The verification mail was asked for again: the same attempt, a further token. */
export const VerificationRequested = eventType('VerificationRequested', {
  data: z.object({userId: UserId, tokenHash: z.string(), tokenExpiresAt: z.iso.datetime()}),
  plain: ['userId', 'tokenHash', 'tokenExpiresAt'],
})

/** The token was used. The identity is claimed before: this says which link did it, and that it is used up. */
export const UserVerified = eventType('UserVerified', {
  data: z.object({userId: UserId, tokenHash: z.string()}),
  plain: ['userId', 'tokenHash'],
})

/** A new password was asked for: the link with this token sets one. */
export const PasswordResetRequested = eventType('PasswordResetRequested', {
  data: z.object({userId: UserId, tokenHash: z.string(), tokenExpiresAt: z.iso.datetime()}),
  plain: ['userId', 'tokenHash', 'tokenExpiresAt'],
})

/** By the link with this token, which is used up, as is every older one. `passwordHash` is bcrypt's. */
export const PasswordChanged = eventType('PasswordChanged', {
  data: z.object({userId: UserId, passwordHash: z.string(), tokenHash: z.string()}),
  personal: {userId: ['passwordHash']},
  plain: ['userId', 'tokenHash'],
})

/** The provider calls the person something else now, or has another address for them. */
export const ProfileChanged = eventType('ProfileChanged', {
  data: z.object({userId: UserId, username: z.string(), email: z.string().nullable()}),
  personal: {userId: ['username', 'email']},
  plain: ['userId'],
})

/** The person's data is gone: the key is destroyed, and nobody can be told by this event. */
export const UserErased = eventType('UserErased', {
  data: z.object({userId: UserId}),
  plain: ['userId'],
})

export type UserEvent =
  | EventOf<typeof FileUploaded>
  | EventOf<typeof PasswordChanged>
  | EventOf<typeof PasswordResetRequested>
  | EventOf<typeof ProfileChanged>
  | EventOf<typeof UserErased>
  | EventOf<typeof UserRegistered>
  | EventOf<typeof VerificationRequested>
  | EventOf<typeof UserVerified>

type Token = {hash: string; expiresAt: string}
type Facts = {
  userId: UserId
  provider: Provider
  identity: IdentityHash
  email: string | null
  username: string
  passwordHash: string | null
  tokens: readonly Token[]
  resets: readonly Token[]
}
export type User =
  | {kind: 'none'}
  | ({kind: 'attempt'} & Facts)
  | ({kind: 'verified'} & Facts)
  | {kind: 'erased'; userId: UserId; identity: IdentityHash}

/** Whether there is somebody to speak of. */
export const isSomebody = (user: User): user is Extract<User, {kind: 'attempt' | 'verified'}> =>
  user.kind === 'attempt' || user.kind === 'verified'

export const noUser: User = {kind: 'none'}

export const evolveUser = (user: User, event: UserEvent): User => {
  switch (event.type) {
    case 'UserRegistered': {
      const {tokenHash, tokenExpiresAt, ...facts} = event.data
      const tokens = tokenHash && tokenExpiresAt ? [{hash: tokenHash, expiresAt: tokenExpiresAt}] : []
      return {kind: 'attempt', ...facts, tokens, resets: []}
    }
    case 'VerificationRequested':
      if (!isSomebody(user)) return user
      return {...user, tokens: [...user.tokens, {hash: event.data.tokenHash, expiresAt: event.data.tokenExpiresAt}]}
    case 'UserVerified':
      return isSomebody(user) ? {...user, kind: 'verified'} : user
    case 'PasswordResetRequested':
      if (!isSomebody(user)) return user
      return {...user, resets: [...user.resets, {hash: event.data.tokenHash, expiresAt: event.data.tokenExpiresAt}]}
    case 'PasswordChanged':
      return isSomebody(user) ? {...user, kind: 'verified', passwordHash: event.data.passwordHash, resets: []} : user
    case 'ProfileChanged':
      return isSomebody(user) ? {...user, username: event.data.username, email: event.data.email} : user
    case 'FileUploaded':
      return user
    case 'UserErased':
      return isSomebody(user) ? {kind: 'erased', userId: user.userId, identity: user.identity} : user
  }
}

export const decideRegister = (user: User, registration: EventOf<typeof UserRegistered>['data']): UserEvent[] =>
  user.kind === 'none' ? [{type: 'UserRegistered', data: registration}] : []

export const decideRequestVerification = (user: User, token: Token): Decision<UserEvent> =>
  user.kind !== 'attempt'
    ? []
    : [
        {
          type: 'VerificationRequested',
          data: {userId: user.userId, tokenHash: token.hash, tokenExpiresAt: token.expiresAt},
        },
      ]

/** `now` is an ISO time. A token that was used says so even when it is old as well. */
export const decideVerify = (user: User, tokenHash: string, now: string): Decision<UserEvent> => {
  const token = isSomebody(user) ? user.tokens.find(({hash}) => hash === tokenHash) : undefined
  if (!isSomebody(user) || !token) return refusal({refused: 'TOKEN_INVALID', reason: 'invalid'})
  if (user.kind === 'verified') return refusal({refused: 'TOKEN_INVALID', reason: 'used'})
  if (now >= token.expiresAt) return refusal({refused: 'TOKEN_INVALID', reason: 'expired'})
  return [{type: 'UserVerified', data: {userId: user.userId, tokenHash}}]
}

export const decideRequestReset = (user: User, token: Token): UserEvent[] =>
  isSomebody(user)
    ? [
        {
          type: 'PasswordResetRequested',
          data: {userId: user.userId, tokenHash: token.hash, tokenExpiresAt: token.expiresAt},
        },
      ]
    : []

/** `now` is an ISO time. A reset uses up its own token and every older one. */
export const decideReset = (
  user: User,
  {tokenHash, passwordHash, now}: {tokenHash: string; passwordHash: string; now: string},
): Decision<UserEvent> => {
  const token = isSomebody(user) ? user.resets.find(({hash}) => hash === tokenHash) : undefined
  if (!isSomebody(user) || !token) return refusal({refused: 'TOKEN_INVALID', reason: 'invalid'})
  if (now >= token.expiresAt) return refusal({refused: 'TOKEN_INVALID', reason: 'expired'})
  return [{type: 'PasswordChanged', data: {userId: user.userId, passwordHash, tokenHash}}]
}

/** What the provider says now. A null name is none that can be taken over. */
export const decideTakeOver = (
  user: User,
  {username, email}: {username: string | null; email: string | null},
): Decision<UserEvent> => {
  if (!isSomebody(user)) return []
  const name = username ?? user.username
  if (name === user.username && email === user.email) return []
  return [{type: 'ProfileChanged', data: {userId: user.userId, username: name, email}}]
}

/**
 * Of a registration attempt that can come to nothing: another one owns its identity (`isLost`), or its last link ran out.
 * `now` is an ISO time.
 */
export const decideDropAttempt = (user: User, {isLost, now}: {isLost: boolean; now: string}): UserEvent[] => {
  if (user.kind !== 'attempt') return []
  const isOpen = [...user.tokens, ...user.resets].some(({expiresAt}) => now < expiresAt)
  return isOpen && !isLost ? [] : [{type: 'UserErased', data: {userId: user.userId}}]
}

/** Irrevocable: what follows from it is done again by each start until it is done. */
export const decideErase = (user: User): Decision<UserEvent> => {
  if (user.kind === 'none') return refusal({refused: 'NOT_FOUND'})
  return user.kind === 'erased' ? [] : [{type: 'UserErased', data: {userId: user.userId}}]
}
