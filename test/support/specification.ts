import {expect} from 'vitest'
import {type Decision, isRefusal, type Refusal} from '../../src/domain/event.ts'
import type {IdentityHash} from '../../src/domain/identity.ts'
import type {Actor, UserId} from '../../src/domain/user.ts'
import type {Fold} from '../../src/streams/streams.ts'

/** Given these events, when this is decided, these events happen: or nothing does, or it is refused. */
export const specify =
  <S, E>({initial, evolve}: Fold<S, E>) =>
  (...events: E[]) => ({
    when: (decide: (state: S) => Decision<E>) => {
      const decision = decide(evolve(initial, events))
      return {
        happens: (...expected: E[]) => expect(decision).toEqual(expected),
        changesNothing: () => expect(decision).toEqual([]),
        refuses: (refused: Refusal['refused'], more: object = {}) => {
          expect(isRefusal(decision)).toBe(true)
          expect(decision).toEqual({refused, ...more})
        },
      }
    },
  })

/** A signed-in person; the same name is the same person. */
export const person = (name: string): Actor => ({
  userId: `email_${name.toLowerCase()}` as UserId,
  username: name,
  isBot: false,
  identity: identityOf(name),
})

export const bot = (name: string): Actor => ({
  userId: `bot_${name.toLowerCase()}` as UserId,
  username: name,
  isBot: true,
  identity: null,
})

/** What stands for the keyed hash of this person's address. */
export const identityOf = (name: string): IdentityHash => `identity of ${name.toLowerCase()}` as IdentityHash
