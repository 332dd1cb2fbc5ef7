import {z} from 'zod'
import {type Decision, type EventOf, eventType, refusal} from './event.ts'

/** A keyed hash of provider and subject (an address, a Discord or Reddit id), in hex: the name of an `identity-` stream. */
export const IdentityHash = z.string().brand('IdentityHash')
export type IdentityHash = z.infer<typeof IdentityHash>

/** This user owns the identity from here on. One claim a stream at a time is what makes an address unique. */
export const IdentityClaimed = eventType('IdentityClaimed', {
  data: z.object({identity: IdentityHash, userId: z.string()}),
  plain: ['identity', 'userId'],
})

/** Its owner was erased: whoever comes with this identity now is a new person. */
export const IdentityReleased = eventType('IdentityReleased', {
  data: z.object({identity: IdentityHash, userId: z.string()}),
  plain: ['identity', 'userId'],
})

export type IdentityEvent = EventOf<typeof IdentityClaimed> | EventOf<typeof IdentityReleased>

export type Identity = {kind: 'free'} | {kind: 'claimed'; userId: string}

export const freeIdentity: Identity = {kind: 'free'}

export const evolveIdentity = (_identity: Identity, event: IdentityEvent): Identity => {
  switch (event.type) {
    case 'IdentityClaimed':
      return {kind: 'claimed', userId: event.data.userId}
    case 'IdentityReleased':
      return freeIdentity
  }
}

/** Of several attempts for one identity the first claim wins; the tokens of the others are worth nothing from then on. */
export const decideClaim = (identity: Identity, hash: IdentityHash, userId: string): Decision<IdentityEvent> => {
  if (identity.kind === 'free') return [{type: 'IdentityClaimed', data: {identity: hash, userId}}]
  return identity.userId === userId ? [] : refusal({refused: 'TOKEN_INVALID', reason: 'invalid'})
}

export const decideRelease = (identity: Identity, hash: IdentityHash, userId: string): Decision<IdentityEvent> =>
  identity.kind === 'claimed' && identity.userId === userId
    ? [{type: 'IdentityReleased', data: {identity: hash, userId}}]
    : []
