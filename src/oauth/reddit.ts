import {Strategy as RedditStrategy} from 'passport-reddit/lib/passport-reddit/index.js'
import type {Config} from '../config.ts'
import {type OauthProvider, openProvider, usernameOf} from './provider.ts'

const CALLBACK = '/api/reddit/callback'

/** Reddit by passport-reddit: people are asked at `origin`, which also gives the token; `apiOrigin` says who they are. */
export const openReddit = (
  {clientId, clientSecret, origin, apiOrigin}: NonNullable<Config['reddit']>,
  {baseUrl, ms}: {baseUrl: string; ms?: number},
): OauthProvider =>
  openProvider({
    ...(ms === undefined ? {} : {ms}),
    // Reddit turns away clients that do not say what they are: <platform>:<app>:<version> (its API's rules).
    userAgent: `web:community-server:1 (${baseUrl})`,
    strategyFor: (verify) =>
      new RedditStrategy(
        {
          clientID: clientId,
          clientSecret,
          callbackURL: `${baseUrl}${CALLBACK}`,
          authorizationURL: `${origin}/api/v1/authorize`,
          tokenURL: `${origin}/api/v1/access_token`,
          userProfileURL: `${apiOrigin}/api/v1/me`,
          state: false,
        },
        verify,
      ),
    accountOf: ({id, name}) => {
      if (typeof id !== 'string' || !/^[0-9a-z]{1,13}$/.test(id)) throw new Error('Reddit did not say who it is')
      return {subject: id, username: usernameOf(name), email: null}
    },
  })
