// By its file: Node warns of the folder that the package calls its main file (DEP0151).
declare module 'passport-reddit/lib/passport-reddit/index.js' {
  import type {Strategy as PassportStrategy} from 'passport'

  export class Strategy extends PassportStrategy {
    constructor(
      options: {
        clientID: string
        clientSecret: string
        callbackURL: string
        authorizationURL: string
        tokenURL: string
        userProfileURL: string
        state: boolean
      },
      verify: (
        accessToken: string,
        refreshToken: string,
        profile: {[field: string]: unknown},
        done: (error: unknown, profile?: {[field: string]: unknown}) => void,
      ) => void,
    )
  }
}
