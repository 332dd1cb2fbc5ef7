import DiscordStrategy from 'passport-discord'
import type {Config} from '../config.ts'
import {normaliseAddress} from '../mail/address.ts'
import {type OauthProvider, openProvider, usernameOf} from './provider.ts'

const CALLBACK = '/api/callback'

/** Discord by passport-discord, at `origin`. An address that the person has not proved to Discord is none. */
export const openDiscord = (
  {clientId, clientSecret, origin}: NonNullable<Config['discord']>,
  {baseUrl, ms}: {baseUrl: string; ms?: number},
): OauthProvider =>
  openProvider({
    ...(ms === undefined ? {} : {ms}),
    userAgent: `community-server (${baseUrl})`,
    strategyFor: (verify) =>
      new Strategy(
        {
          clientID: clientId,
          clientSecret,
          callbackURL: `${baseUrl}${CALLBACK}`,
          authorizationURL: `${origin}/api/oauth2/authorize`,
          tokenURL: `${origin}/api/oauth2/token`,
          scope: ['identify', 'email'],
        },
        verify as never,
        `${origin}/api/users/@me`,
      ),
    accountOf: ({id, username, email, verified}) => {
      if (typeof id !== 'string' || !/^\d{1,20}$/.test(id)) throw new Error('Discord did not say who it is')
      return {
        subject: id,
        username: usernameOf(username),
        email: typeof email === 'string' && verified !== false ? normaliseAddress(email) : null,
      }
    },
  })

/** The package's own userProfile has Discord's address in it. */
class Strategy extends DiscordStrategy {
  private readonly profileUrl: string

  constructor(options: DiscordStrategy.StrategyOptions, verify: never, profileUrl: string) {
    super(options, verify)
    this.profileUrl = profileUrl
  }

  override userProfile(accessToken: string, done: (error?: unknown, profile?: unknown) => void): void {
    this._oauth2.get(this.profileUrl, accessToken, (error, answer) =>
      error ? done(error) : done(null, JSON.parse(answer as string)),
    )
  }
}
