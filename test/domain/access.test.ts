import {describe, expect, it} from 'vitest'
import {
  type AccessEvent,
  decideRefusal,
  evolveAccess,
  noAccess,
  REFUSALS_PER_HOUR,
  type RefusalEvent,
} from '../../src/domain/access.ts'
import {accessFold} from '../../src/streams/streams.ts'
import {person, specify} from '../support/specification.ts'

const {userId} = person('Ann')
const given = specify(accessFold)
const minute = (minutes: number) => new Date(Date.UTC(2026, 0, 1, 0, minutes)).toISOString()

const failed = (minutes: number, unwritten = 0): RefusalEvent => ({
  type: 'SignInFailed',
  data: {userId, by: 'password', refused: 'WRONG_CREDENTIALS', at: minute(minutes), unwritten},
})
const refused = (minutes: number): RefusalEvent => ({
  type: 'CommandRefused',
  data: {userId, command: 'joinRoom', refused: 'NOT_INVITED', at: minute(minutes), unwritten: 0},
})
const signedIn: AccessEvent = {type: 'SignedIn', data: {userId, by: 'password'}}
/** One a minute. */
const anHour = (one: (minutes: number) => RefusalEvent) => Array.from({length: REFUSALS_PER_HOUR}, (_, n) => one(n))

describe('decideRefusal', () => {
  it('writes down the first one, with how many were not', () => {
    given()
      .when((access) => decideRefusal(access, failed(0, 7)))
      .happens(failed(0, 7))
  })

  it('writes down twenty an hour, whatever lies between them', () => {
    given(...anHour(failed).flatMap((one) => [one, signedIn]))
      .when((access) => decideRefusal(access, failed(59)))
      .changesNothing()
    given(...anHour(failed).slice(1))
      .when((access) => decideRefusal(access, failed(59)))
      .happens(failed(59))
  })

  it('writes down the next one an hour after the first of them, and no second one', () => {
    given(...anHour(failed))
      .when((access) => decideRefusal(access, failed(60)))
      .happens(failed(60))
    given(...anHour(failed), failed(60))
      .when((access) => decideRefusal(access, failed(60)))
      .changesNothing()
  })

  it('lets who guesses at a password hide nothing that the person is refused', () => {
    given(...anHour(failed))
      .when((access) => decideRefusal(access, refused(20)))
      .happens(refused(20))
  })

  it('remembers no more than it needs', () => {
    const events = [...anHour(failed), ...anHour(refused), failed(60), refused(60)]
    expect(events.reduce(evolveAccess, noAccess).SignInFailed).toHaveLength(REFUSALS_PER_HOUR)
  })
})
