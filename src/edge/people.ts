import type {Pool} from 'pg'
import type {UserId} from '../domain/user.ts'
import {isFaulty} from '../log/codec.ts'
import type {Tail} from '../log/tail.ts'
import type {Applied} from '../projections/applied.ts'
import {findUser, type UserRow, users} from '../projections/users.ts'

const REMEMBERED = 10_000

/** Who somebody is, as the table of people has it. */
export type People = {find(userId: UserId): Promise<UserRow | null>}

/**
 * Almost every request asks who its person is, and people hardly change, so they are remembered until the tail brings what
 * changes them. They are given only where the table could not say anything newer: see http/postPages.ts.
 */
export const openPeople = ({pool, tail, applied}: {pool: Pool; tail: Tail; applied: Applied}): People => {
  const remembered = new Map<UserId, {user: UserRow; generation: number; at: bigint}>()
  // What was before the tail began is not known, so it counts as a change.
  let changedAt: bigint | null = null
  const tailPosition = (): bigint => tail.position() ?? -1n
  tail.listen((event) => {
    if (event.type !== 'UserErased' && !users.handlers[event.type]) return
    changedAt = event.position
    if (isFaulty(event)) remembered.clear()
    else remembered.delete((event.data as {userId: UserId}).userId)
  })

  return {
    find: async (userId) => {
      changedAt ??= tailPosition()
      const known = applied.known(users)
      const one = remembered.get(userId)
      if (
        one &&
        known &&
        one.generation === known.generation &&
        (one.at >= known.position || tailPosition() >= known.position)
      )
        return one.user
      const user = await findUser(pool, userId)
      // Only where the table held every change that the tail has brought by now, of whomever.
      if (user && known && changedAt <= known.position && applied.known(users)?.generation === known.generation) {
        remembered.delete(userId)
        remembered.set(userId, {user, generation: known.generation, at: known.position})
        if (remembered.size > REMEMBERED) remembered.delete(remembered.keys().next().value!)
      }
      return user
    },
  }
}
