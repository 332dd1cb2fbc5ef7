import {z} from 'zod'
import {type Decision, type EventOf, eventType, refusal} from './event.ts'
import {IdentityHash} from './identity.ts'
import {text} from './text.ts'

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

export type UserEvent =
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
}
export type User = {kind: 'none'} | ({kind: 'attempt'} & Facts) | ({kind: 'verified'} & Facts)

export const noUser: User = {kind: 'none'}

export const evolveUser = (user: User, event: UserEvent): User => {
  switch (event.type) {
    case 'UserRegistered': {
      const {tokenHash, tokenExpiresAt, ...facts} = event.data
      const tokens = tokenHash && tokenExpiresAt ? [{hash: tokenHash, expiresAt: tokenExpiresAt}] : []
      return {kind: 'attempt', ...facts, tokens}
    }
    case 'VerificationRequested':
      if (user.kind === 'none') return user
      return {...user, tokens: [...user.tokens, {hash: event.data.tokenHash, expiresAt: event.data.tokenExpiresAt}]}
    case 'UserVerified':
      return user.kind === 'none' ? user : {...user, kind: 'verified'}
  }
}

export const decideRegister = (
  user: User,
  registration: EventOf<typeof UserRegistered>['data'],
): Decision<UserEvent> => (user.kind === 'none' ? [{type: 'UserRegistered', data: registration}] : [])

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
  const token = user.kind === 'none' ? undefined : user.tokens.find(({hash}) => hash === tokenHash)
  if (user.kind === 'none' || !token) return refusal({refused: 'TOKEN_INVALID', reason: 'invalid'})
  if (user.kind === 'verified') return refusal({refused: 'TOKEN_INVALID', reason: 'used'})
  if (now >= token.expiresAt) return refusal({refused: 'TOKEN_INVALID', reason: 'expired'})
  return [{type: 'UserVerified', data: {userId: user.userId, tokenHash}}]
}
